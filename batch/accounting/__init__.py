"""What a task used: measuring it, recording it, reporting it."""
