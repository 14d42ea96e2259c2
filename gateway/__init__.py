"""The one door: verifies who calls and what they may do, then forwards bytes; knows no message type."""
