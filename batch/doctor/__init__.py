"""What would keep jobs from running."""
