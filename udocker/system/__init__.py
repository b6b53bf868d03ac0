"""Facts about this host and its processes and files."""
