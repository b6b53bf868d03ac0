"""What one task needs to know, carried inside the job script as one JSON value."""

from __future__ import annotations

import json

from udocker.api import TYPE_CHECKING, Config, dataclass, replace

from .errors import InvalidJob

if TYPE_CHECKING:
    from typing import Optional

    from .jobspec import JobSpec

# Linux hands a program no single string longer than this (execve(2), MAX_ARG_STRLEN), the NUL included.
_MAX_TEXT = 128 * 1024 - 1
VARIABLE = "UDOCKER_BATCH_TASK"
_LISTS = ("command", "mounts", "insecure_registries", "entrypoint", "prefetch", "lower")


@dataclass(frozen=True)
class TaskSpec:
    """A task of a job whose image is pinned.  Strings are file names and arguments as Python has
    them, bytes that are not UTF-8 as surrogates; JSON in ASCII keeps them."""

    image: str
    command: tuple[str, ...]
    udocker_dir: str
    container: str = ""
    mode: str = ""
    nvidia: bool = False
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    entrypoint: Optional[tuple[str, ...]] = None
    directory: str = ""
    usage: bool = True
    prepare_only: bool = False
    stage: str = "shared"
    prefetch: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    insecure: bool = False
    insecure_registries: tuple[str, ...] = ()

    @classmethod
    def of(cls, job: JobSpec, config: Config) -> TaskSpec:
        """The task of a job whose ``image`` is pinned, with what it needs of the settings."""
        command, entrypoint, mounts = job.command, job.entrypoint, job.mounts
        if job.script:
            from .script import SCRIPT_TARGET, interpreter, kept_script  # not for those who read one

            command = (*interpreter(job.script), SCRIPT_TARGET, *job.command)
            entrypoint = entrypoint or ()  # the image's own is for commands of its own
            mounts = (*mounts, f"{kept_script(config.udocker_dir, job.script)}:{SCRIPT_TARGET}:ro")
        return cls(
            image=job.image,
            command=command,
            udocker_dir=config.udocker_dir,
            container=job.container,
            mode=job.mode,
            nvidia=job.nvidia,
            env=job.env,
            mounts=mounts,
            workdir=job.workdir,
            user=job.user,
            entrypoint=entrypoint,
            directory=job.directory,
            usage=job.usage,
            stage=job.stage,
            prefetch=job.prefetch,
            lower=config.lower,
            insecure=config.insecure,
            insecure_registries=tuple(sorted(config.insecure_registries)),
        )

    def to_json(self) -> str:
        """One line of ASCII; raises InvalidJob when it is too long to be handed to a program."""
        text = json.dumps(vars(self), sort_keys=True)
        if len(VARIABLE) + 1 + len(text) > _MAX_TEXT:
            raise InvalidJob(
                f"job: command, environment and mounts: {len(text)} bytes as JSON, more than the {_MAX_TEXT}"
                " that a program can be handed",
                "put them into a file and mount it",
            )
        return text

    @classmethod
    def from_json(cls, text: str) -> TaskSpec:
        """Read ``to_json``'s form; raises InvalidJob."""
        try:
            document = json.loads(text)
            for name in _LISTS:
                document[name] = None if document[name] is None else tuple(document[name])
            document["env"] = tuple((name, value) for name, value in document["env"])
            return cls(**document)
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidJob(f"task: its description: {error}", "this is for job scripts to call") from None

    def config(self, base: Config) -> Config:
        """``base`` with what the submitter had set."""
        return replace(
            base,
            udocker_dir=self.udocker_dir,
            lower=self.lower or base.lower,
            insecure=self.insecure or base.insecure,
            insecure_registries=base.insecure_registries | frozenset(self.insecure_registries),
        )
