"""Turn an image and a command into jobs of a batch system, prepared once and accounted for."""
