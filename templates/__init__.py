"""Job scripts (Jinja2)."""
