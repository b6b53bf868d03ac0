"""Execution engines and their choice."""
