"""What every service bolts onto, and what knows no domain word."""
