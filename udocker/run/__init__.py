"""From a container and a run specification to a started process."""
