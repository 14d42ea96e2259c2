"""Running FluxEngine: as four processes on one machine, and in containers."""
