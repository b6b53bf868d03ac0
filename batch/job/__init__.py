"""Jobs that were submitted: their state, output and usage."""
