"""Slurm: sbatch, squeue, sacct, scancel."""
