"""What FluxEngine costs, beside what the same work costs without it, measured in one run."""
