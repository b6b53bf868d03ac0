"""``udocker-batch hooks``: write a site's Prolog, Epilog, TaskProlog and TaskEpilog, and do their work.

They see to the copies of containers that jobs with --stage=node keep on a node. A site without them has the
same done inside the jobs.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from udocker import api

from ...arguments import installed_program
from ...errors import BatchError, InvalidJob
from ...render import render
from ...scheduler import Command
from ...staging import place_of
from ...submission import run_command
from ...task import Terminable
from ...taskspec import VARIABLE, TaskSpec

# The hooks by slurm.conf's names for them (slurm.conf(5)), with their templates.
_HOOKS = {
    "Prolog": "slurm-prolog.sh",
    "Epilog": "slurm-epilog.sh",
    "TaskProlog": "slurm-task-prolog.sh",
    "TaskEpilog": "slurm-task-epilog.sh",
}
_DESCRIPTION = """Write Prolog, Epilog, TaskProlog and TaskEpilog for a site, and print lines for slurm.conf.

They make copies of containers on nodes ready for jobs with --stage=node, and remove them afterwards. None of
them ever fails a job or drains a node: each ends with 0, in bounded time, whatever happens. Every node has
to see the directory and the installed udocker-batch. Where a site has hooks of its own they call ours."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``install`` and, for the hooks themselves, ``run``."""
    parser.description = _DESCRIPTION
    acts = parser.add_subparsers(dest="do", metavar="install", required=True)
    install = acts.add_parser("install", help="write the hooks")
    install.add_argument("scheduler", choices=("slurm",))
    add = install.add_argument
    add("--directory", default="/etc/slurm/udocker", metavar="D", help="where to write them (%(default)s)")
    add("--node-dir", default="/var/tmp/udocker", metavar="D", help="on each node, for copies (%(default)s)")
    add("--keep", type=int, default=3600, metavar="SECONDS", help="how long unused copies stay (%(default)s)")
    add("--limit", type=int, default=120, metavar="SECONDS", help="that a hook may take (%(default)s)")
    add("--log", default="/var/log/udocker-hooks.log", metavar="FILE", help="on each node (%(default)s)")
    run = acts.add_parser("run", help="what the hooks call")
    run.add_argument("scheduler", choices=("slurm",))
    run.add_argument("hook", choices=("prolog",))


def run(config: api.Config, options: argparse.Namespace) -> int:
    """Write the hooks, or do the work of one; returns the exit status."""
    return _run_prolog(os.environ) if options.do == "run" else _install(options)


def _install(options: argparse.Namespace) -> int:
    directory = Path(options.directory).absolute()
    for name, value in (("--node-dir", options.node_dir), ("--log", options.log)):
        if not value.startswith("/"):
            raise api.UsageError(f"hooks: {name} {value!r}: not an absolute path")
        if "\n" in value:
            raise api.UsageError(f"hooks: {name} {value!r}: a line feed, which a hook cannot tell Slurm")
    if options.keep < 0 or options.limit < 1:
        raise api.UsageError("hooks: --keep, --limit: not a number of seconds")
    values = {
        "program": installed_program(),
        "node_dir": options.node_dir,
        "keep": options.keep,
        "limit": options.limit,
        "log": options.log,
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, template in _HOOKS.items():
            _write(directory / name.lower(), render(template, **values))
    except OSError as error:
        raise api.from_os_error("hooks", error, str(directory)) from error
    print("# For slurm.conf on every node; then: scontrol reconfigure")
    for name in _HOOKS:
        print(f"{name}={directory / name.lower()}")
    return 0


def _write(path: Path, text: str) -> None:
    """Whole or not at all: slurmd may call it at any moment."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
    temporary.chmod(0o755)
    temporary.replace(path)


def _run_prolog(environ: Mapping[str, str]) -> int:
    """Make the copies of the job's images on this node, as its user."""
    from ...stage.command import become

    job, uid = environ.get("SLURM_JOB_ID", ""), environ.get("SLURM_JOB_UID", "")
    if not job.isdecimal() or not uid.isdecimal():
        raise InvalidJob("hooks: no job is starting here", "this is for Slurm's Prolog to call")
    own = {**become(uid), "PATH": environ.get("PATH", "")}
    task = _task_of(job)
    if task is None or task.stage != "node" or task.container:
        return 0
    config = task.config(api.Config.from_environment(own))
    with Terminable(), place_of(config, task.image, task.stage, own, task.prefetch, keep=True) as place:
        print(f"job {job}: user {uid}: {place.preparation.container} {place.preparation.role}")
    return 0


def _task_of(job: str) -> Optional[TaskSpec]:
    """The task that the job's script carries; None where the job is none of ours."""
    answer = run_command(Command(("scontrol", "write", "batch_script", job, "-")))
    if answer.status != 0:
        return None  # a job without a script: salloc, srun
    for line in answer.stdout.splitlines():
        if line.startswith(f"{VARIABLE}="):
            try:
                (word,) = shlex.split(line.partition("=")[2])
            except ValueError as error:
                raise BatchError(f"hooks: job {job}: its task: {error}") from None
            return TaskSpec.from_json(word)
    return None
