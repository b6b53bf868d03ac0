"""What a site can have Slurm do before and after jobs and tasks."""
