"""The command ``udocker-batch``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from udocker import api

from .arguments import SCHEDULERS, Parser, add_stage_arguments, current_directory
from .jobspec import PREPARE_CHOICES, STAGE_CHOICES, JobSpec
from .onnode import main as on_node
from .onnode import told

_EPILOG = """A job file is YAML:

  image: 127.0.0.1:5000/pi:1        # pinned to its digest at submission
  command: [python3, /data/work.py]
  array: 0-999%50                   # as sbatch's --array
  mounts: [/scratch/data:/data:ro]
  env: {MODE: fast}
  stdout: out/task-%a.txt           # %A job, %a task, %j, %x name, as sbatch
  cpus: 1
  memory: 2G
  time: 30m

Other keys: container (instead of image), mode, nvidia, name, workdir, user, entrypoint, directory, stderr,
prepare (first, submit, job), stage (shared, node), prefetch (further images), usage, options (a list for
each batch system). udocker-batch schema prints them all as a JSON schema."""


_Act = Callable[[api.Config, argparse.Namespace], int]
_Arguments = Callable[[argparse.ArgumentParser], None]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command line; returns its exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `udocker-batch usage 7 | head` ends quietly
    logging.basicConfig(format="udocker-batch: %(message)s")
    words = list(sys.argv[1:] if argv is None else argv)
    return told(lambda: _run(words))


def _run(words: Sequence[str]) -> int:
    if words[:1] == ["local"]:
        from .local.command import main as local

        return local(words[1:])
    if words[:1] == ["--version"]:
        import importlib.metadata  # as slow as all the rest together

        print(f"udocker-batch {importlib.metadata.version('udocker-batch')}")
        return 0
    options = _parser(words[0] if words and words[0] in _COMMANDS else None).parse_args(words)
    act: Callable[[api.Config, argparse.Namespace], int] = options.act
    return act(api.Config.from_environment(os.environ), options)


def _submit(config: api.Config, options: argparse.Namespace) -> int:
    from .interface import job_files, submit

    job = _loaded(options)
    if options.dry_run:
        _print_files(job_files(job, options.scheduler, config=config))
        return 0
    print(submit(job, options.scheduler, config=config).id)
    return 0


def _render(config: api.Config, options: argparse.Namespace) -> int:
    from .interface import job_files

    _print_files(job_files(_loaded(options), options.scheduler, config=config))
    return 0


def _loaded(options: argparse.Namespace) -> JobSpec:
    from .interface import load

    current_directory()  # tells in a line of its own when it has been removed
    job = load(Path("/dev/stdin" if options.file == "-" else options.file), options.scheduler, options.set)
    if options.prepare:
        job = replace(job, prepare=options.prepare)
    job = replace(job, stage=options.stage or job.stage, prefetch=(*job.prefetch, *options.prefetch))
    return replace(job, options=(*job.options, *options.option))


def _print_files(files: Mapping[str, str]) -> None:
    for text in files.values():
        print(text, end="")


def _schema(config: api.Config, options: argparse.Namespace) -> int:
    import json

    from .jobfile import schema

    print(json.dumps(schema(), indent=2))
    return 0


def _prepare(config: api.Config, options: argparse.Namespace) -> int:
    from .staging import prepare_images

    if options.insecure:
        config = replace(config, insecure=True)
    images = [api.resolve(config, image) for image in options.image]
    for prepared in prepare_images(config, options.stage, images, os.environ):
        print(f"{prepared.image} {prepared.container} {prepared.role}")
    return 0


def _on_node(act: str) -> _Act:
    """One of the acts that ``start`` does without this module, where this is called all the same."""
    return lambda *_: on_node(act)


def _render_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="JOB.YAML", help="- for standard input")
    parser.add_argument("--scheduler", choices=tuple(SCHEDULERS), required=True)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="in place of what the file says, as array=0-9 or env.MODE=fast; may be given again",
    )
    parser.add_argument("--option", action="append", default=[], help="handed to the batch system as it is")
    parser.add_argument(
        "--prepare",
        choices=PREPARE_CHOICES,
        default=None,
        help="who pulls and unpacks the image: the first task (default), this command, or a job of its own",
    )
    add_stage_arguments(parser, None, [])


def _submit_arguments(parser: argparse.ArgumentParser) -> None:
    _render_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the job script and submit nothing")


def _prepare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", nargs="+")
    parser.add_argument(
        "--stage", choices=STAGE_CHOICES, default="shared", help="for jobs with this --stage (shared)"
    )
    parser.add_argument("--insecure", action="store_true", help="allow plain HTTP and unverified TLS")


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """``schema`` has none; ``task`` and ``rank`` take all from the environment."""


def _elsewhere(module: str, act: str, arguments: str) -> tuple[_Act, _Arguments]:
    """An act and its arguments in a command module, which is loaded when they are needed."""

    def load(name: str) -> Any:
        return getattr(importlib.import_module(f".{module}.command", __package__), name)

    def run(config: api.Config, options: argparse.Namespace) -> int:
        return int(load(act)(config, options))

    return run, lambda parser: load(arguments)(parser)


# Every command: what it does, its options, its line in the help.
_COMMANDS: Mapping[str, tuple[tuple[_Act, _Arguments], str]] = {
    "submit": ((_submit, _submit_arguments), "submit a job file; prints the job's id"),
    "render": ((_render, _render_arguments), "print the job script that submit would hand over"),
    "status": (
        _elsewhere("job", "status", "add_status_arguments"),
        "tell the state of every task: index, state, exit status, host, reason; or list jobs",
    ),
    "wait": (
        _elsewhere("job", "wait", "add_wait_arguments"),
        "wait for a job; exits with 0 if every task did",
    ),
    "logs": (_elsewhere("job", "logs", "add_logs_arguments"), "print what tasks wrote"),
    "cancel": (_elsewhere("job", "cancel", "add_cancel_arguments"), "cancel what is left of jobs"),
    "usage": (_elsewhere("job", "usage", "add_usage_arguments"), "print what every task used"),
    "prepare": ((_prepare, _prepare_arguments), "pull and unpack images for jobs to come"),
    "stage": (
        _elsewhere("stage", "run", "add_arguments"),
        "list or remove the copies of containers on this node",
    ),
    "hooks": (_elsewhere("slurm.hooks", "run", "add_arguments"), "write a site's hooks of Slurm"),
    "doctor": (_elsewhere("doctor", "run", "add_arguments"), "tell what would keep jobs from running"),
    "schema": ((_schema, _no_arguments), "print the JSON schema of job files"),
    "rank": ((_on_node("rank"), _no_arguments), "run a rank of a step; for udocker-srun"),
    "task": ((_on_node("task"), _no_arguments), "run a task; for job scripts"),
}


def _parser(wanted: Optional[str]) -> Parser:
    parser = Parser(
        prog="udocker-batch",
        description="Run images as jobs of a batch system: prepared once, accounted for.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, ((act, add_arguments), text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        # The options of others need not be known, nor their modules be loaded.
        if wanted in (None, name):
            add_arguments(command)
        command.set_defaults(act=act)
    return parser


if __name__ == "__main__":
    sys.exit(main())
