"""``python -m tests.fuzz.run WORK SECONDS [TARGET...]``: each target for its part of the time.

``python -m tests.fuzz.run WORK FILE TARGET`` tries one input again.  WORK keeps the corpus, and in
``crashes`` what a target did not stand; the exit status is 1 where one did not.
"""

from __future__ import annotations

import logging
import os
import pwd
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz import native

_MEMORY_MB = 1024
_INPUT_SECONDS = 60  # of a machine that does other things as well
_LONGEST = 2000
_LARGEST_FILE = 64 << 20
_UNPRIVILEGED = "nobody"


def main(arguments: list[str]) -> int:
    logging.getLogger("udocker").setLevel(logging.CRITICAL)  # a warning for every second input
    work = Path(arguments[0]).resolve()
    if arguments[1] == "--":
        _fuzz(arguments[2], arguments[3:])
    if Path(arguments[1]).is_file():
        if arguments[2] in native.SOURCES:
            return subprocess.run([_program(work, arguments[2]), arguments[1]], **_unprivileged()).returncode
        _instrumented()
        _try(arguments[2], Path(arguments[1]).read_bytes())
        return 0
    names = arguments[2:] or _targets()
    seconds = max(1, int(arguments[1]) // len(names))
    failed = [name for name in names if not _run(work, name, seconds)]
    again = f"{sys.executable} -m tests.fuzz.run {work}"
    for crash in sorted((work / "crashes").iterdir()):
        print(f"fuzz: try it again: {again} {crash} {crash.name.split('-')[0]}")
    print(f"fuzz: {len(names) - len(failed)} targets of {len(names)} stood {seconds} s each")
    return 1 if failed else 0


def _targets() -> list[str]:
    from tests.fuzz.targets import TARGETS

    return [*TARGETS, *native.SOURCES]


def _program(work: Path, name: str) -> str:
    """A target in C, compiled anew."""
    compiler = native.clang()
    if compiler is None:
        raise SystemExit(f"fuzz: {name}: needs clang with libFuzzer: apt-get install clang")
    program = work / f"{name}-fuzzer"
    native.with_libfuzzer(compiler, name, program)
    return str(program)


def _unprivileged() -> dict[str, Any]:
    """Options of a process that must not be root's, for what leads out of its root must not reach far."""
    environment = {**os.environ, **native.ENVIRONMENT}
    if os.geteuid() != 0:
        return {"env": environment}
    entry = pwd.getpwnam(_UNPRIVILEGED)
    return {"env": environment, "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _run(work: Path, name: str, seconds: int) -> bool:
    """Let a process of its own fuzz a target."""
    corpus, crashes = work / "corpus" / name, work / "crashes"
    for directory in (corpus, crashes):
        directory.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            entry = pwd.getpwnam(_UNPRIVILEGED)
            for path in (work, work / "corpus", directory, *directory.iterdir()):
                os.chown(path, entry.pw_uid, entry.pw_gid)
    print(f"fuzz: {name}: {seconds} s", flush=True)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={_INPUT_SECONDS}",
        f"-rss_limit_mb={_MEMORY_MB}",
        f"-max_len={_LONGEST}",
        f"-artifact_prefix={crashes}/{name}-",
        "-handle_xfsz=0",  # a file that would be too large is an error like others
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    if name in native.SOURCES:
        command = [_program(work, name), *options, str(corpus)]
        return subprocess.run(command, check=False, **_unprivileged()).returncode == 0
    command = [sys.executable, "-m", "tests.fuzz.run", str(work), "--", name, *options, str(corpus)]
    return subprocess.run(command, check=False).returncode == 0


def _instrumented() -> None:
    import atheris

    with atheris.instrument_imports(include=["udocker"]):
        import tests.fuzz.targets  # noqa: F401


def _fuzz(name: str, options: list[str]) -> None:
    """Fuzz in this process; does not return."""
    import atheris

    _instrumented()
    from tests.fuzz.targets import SEEDS

    if os.geteuid() == 0:  # what leads out of its root must not reach far
        entry = pwd.getpwnam(_UNPRIVILEGED)
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
    corpus = Path(options[-1])
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed{number}").write_bytes(seed)
    atheris.Setup(["fuzz", *options], lambda data: _try(name, data))
    atheris.Fuzz()


def _try(name: str, data: bytes) -> None:
    from tests.fuzz.targets import attempt

    with tempfile.TemporaryDirectory(prefix="udocker-fuzz-") as place:
        attempt(name, data, Path(place))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
