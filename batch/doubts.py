"""What makes a job doubtful that can be submitted: told then, because its tasks tell of it too late."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from udocker import api

from .jobspec import JobSpec


def doubts(job: JobSpec, outputs: Mapping[str, str]) -> Iterator[str]:
    """A line for each: ``outputs`` are the files of the job's output by what the user calls them.

    Compute nodes may have what this machine lacks, so that none of these keeps a job from being submitted.
    """
    for text in job.mounts:
        source = api.Mount.parse(text, job.directory or "/").source
        if not os.path.lexists(source):
            yield f"mount {source}: is not on this machine; tasks fail on nodes that lack it, too"
    if job.directory and not os.path.isdir(job.directory):
        yield f"directory: {job.directory} is not on this machine; tasks fail on nodes that lack it, too"
    for what, path in outputs.items():
        directory = os.path.dirname(os.path.join(job.directory, path))
        # With % it may be another one for each task, as sbatch names it.
        if path and "%" not in directory and not os.path.isdir(directory):
            yield f"{what}: no directory {directory} on this machine; tasks without one fail, and do not tell"
