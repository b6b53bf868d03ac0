"""srun, with an image to run in."""
