"""The command ``udocker``: finds the command's module, runs it, reports its failure in one line."""

from __future__ import annotations

import gc
import importlib
import io
import os
import signal
import sys

from udocker import __version__
from udocker.cli.usual import Declarations
from udocker.config import Config
from udocker.errors import UdockerError, UsageError, from_os_error
from udocker.log import configure
from udocker.store.paths import StorePaths
from udocker.system.files import flush_output
from udocker.values import TYPE_CHECKING, replace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Optional, Union

    from udocker.cli.parser import Parser

# Each command's module and its line in the help.  A module has DESCRIPTION, add_arguments(parser) and
# run(config, arguments) -> exit status; it is imported only when its command is called.
COMMANDS = {
    "pull": ("pull", "fetch an image from a registry"),
    "create": ("create", "make a container from an image"),
    "run": ("run", "run a command in a container or an image"),
    "exec": ("exec_", "run a command in a container that runs"),
    "logs": ("logs", "print what a container in the background has printed"),
    "stop": ("stop", "end what runs in a container"),
    "kill": ("kill", "send a signal to what runs in a container"),
    "wait": ("wait", "wait for what runs in a container, and tell its exit status"),
    "top": ("top", "list the processes of a container"),
    "port": ("port", "list the ports of the host that a container has"),
    "images": ("images", "list images"),
    "ps": ("ps", "list containers"),
    "inspect": ("inspect", "show a container's or an image's metadata"),
    "rm": ("rm", "remove containers"),
    "rmi": ("rmi", "remove images"),
    "name": ("name", "give a container a name"),
    "rmname": ("rmname", "take a container's name away"),
    "rename": ("rename", "change a container's name"),
    "clone": ("clone", "copy a container"),
    "tag": ("tag", "give an image another name"),
    "protect": ("protect", "keep a container or an image from being removed"),
    "unprotect": ("unprotect", "allow it to be removed"),
    "verify": ("verify", "check an image or a container for damage"),
    "repair": ("repair", "find and mend what crashes have left"),
    "mkrepo": ("mkrepo", "make an empty store"),
    "setup": ("setup", "change how a container is run"),
    "avail": ("avail", "list the execution modes and whether they work here"),
    "doctor": ("doctor", "tell which execution modes work here, and what to do about the others"),
    "showconf": ("showconf", "print the settings in force"),
    "search": ("search", "look for images in a registry, or list an image's tags"),
    "manifest": ("manifest", "show an image's manifest as its registry has it"),
    "login": ("login", "keep a password for a registry"),
    "logout": ("logout", "forget a registry's password"),
    "save": ("save", "write images to an archive"),
    "load": ("load", "load images from an archive"),
    "export": ("export", "write a container's files to an archive"),
    "import": ("import_", "make an image or a container of an archive of files"),
    "install": ("install", "check the engines of this package, or add others"),
    "completion": ("completion", "print what bash or zsh need to complete command lines"),
    "version": ("version", "print the version"),
}
# Global options that take a value, which may be the next word.
_WITH_VALUE = ("--repo", "--config")
# Commands that a store given by --repo need not be there for.
_WITHOUT_STORE = ("mkrepo", "version", "showconf", "avail", "doctor", "completion")
# Commands that jobs call: usual lines of theirs are read without argparse.
_OFTEN_CALLED = ("run",)
# UDOCKER_LOGLEVEL's steps, as in udocker 1.3.
_LEVEL_QUIET, _LEVEL_DEBUG = 1, 5


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command line; returns its exit status (docker's: 125, 126, 127, else the program's)."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `udocker images | head` ends quietly
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # paths are bytes, and come out as they came in
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return _dispatch(arguments)
        finally:
            flush_output()
    except UdockerError as error:
        return _fail(error)
    except OSError as error:
        return _fail(from_os_error("udocker", error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _fail(error: UdockerError) -> int:
    from udocker.cli.output import report  # with all that shows progress

    report("udocker", error)
    return error.exit_status


def _dispatch(arguments: list[str]) -> int:
    known, rest = _split(arguments)
    declared = Declarations()
    _add_global_options(declared)
    options = declared.read(known) or global_parser().parse_args(known)
    if options.version:
        rest = ["version"]
    if not rest or rest == ["help"]:
        global_parser().print_help()
        return 0
    name = rest[0]
    if name == "help":
        rest, name = [rest[1], "--help"], rest[1]
    if name not in COMMANDS:
        raise _unknown(name)
    configure(options.debug)
    config = _config(options)
    _module(name)
    configure(options.debug or config.log_level >= _LEVEL_DEBUG)  # where the module wants it
    if options.repo and name not in _WITHOUT_STORE:
        StorePaths(config.udocker_dir).require("--repo")
    return _run(name, rest[1:], config, quiet=options.quiet or config.log_level <= _LEVEL_QUIET)


def _unknown(name: str) -> UsageError:
    import difflib  # for mistakes alone

    from udocker.cli.dockeronly import instead_of_command

    reason = instead_of_command(name)
    if reason:
        return UsageError(f"{name!r}: a command of docker's that is not here", reason)
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.7)
    hint = f"did you mean udocker {near[0]}?" if near else "see udocker --help"
    return UsageError(f"{name!r}: unknown command", hint)


def _config(options: argparse.Namespace) -> Config:
    # What follows from the directory, such as its udocker.conf, follows from --repo as well.
    environ = {**os.environ, "UDOCKER_DIR": options.repo} if options.repo else os.environ
    config = Config.from_environment(environ, options.config or None)
    return replace(config, insecure=True) if options.insecure else config


def _run(name: str, arguments: list[str], config: Config, quiet: bool) -> int:
    module = _module(name)
    options = _read(name, arguments)
    if not gc.isenabled():  # see udocker.cli.start
        gc.freeze()
        gc.enable()
    options.quiet = quiet or getattr(options, "quiet", False)
    try:
        status: int = module.run(config, options)
    except OSError as error:
        raise from_os_error(name, error) from error
    return status


def _read(name: str, arguments: list[str]) -> argparse.Namespace:
    if name in _OFTEN_CALLED:
        declared = Declarations()
        _module(name).add_arguments(declared)
        options = declared.read(arguments)
        if options is not None:
            return options
    return command_parser(name).parse_args(arguments)


def command_parser(name: str) -> Parser:
    """The parser of a command's own arguments."""
    from udocker.cli.parser import Parser  # usual lines of a run need none

    module = _module(name)
    parser = Parser(prog=f"udocker {name}", description=module.DESCRIPTION)
    module.add_arguments(parser)
    return parser


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"udocker.cli.{COMMANDS[name][0]}")


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Global options, which stand before the command, and the rest."""
    value = False
    for position, argument in enumerate(arguments):
        if not argument.startswith("-") and not value:
            return arguments[:position], arguments[position:]
        value = argument in _WITH_VALUE and not value
    return arguments, []


def global_parser() -> Parser:
    """The parser of what stands before the command."""
    from udocker.cli.parser import Parser  # likewise

    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    parser = Parser(
        prog="udocker",
        usage="udocker [OPTIONS] COMMAND ...",
        description="Run container images as an ordinary user: no daemon, no root.",
        epilog=f"commands:\n{lines}\n\nudocker COMMAND --help tells a command's options.",
    )
    _add_global_options(parser)
    return parser


def _add_global_options(parser: Union[Parser, Declarations]) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="print less")
    parser.add_argument("--repo", metavar="DIR", default="", help="use the store DIR instead of UDOCKER_DIR")
    parser.add_argument("--config", metavar="FILE", help="settings that win over those of udocker.conf")
    parser.add_argument("-D", "--debug", action="store_true", help="log what is done")
    parser.add_argument(
        "--insecure", action="store_true", help="allow plain HTTP and certificates that cannot be verified"
    )
    # udocker 1.3 asks root for this option; here root is served as anybody else.
    parser.add_argument("--allow-root", action="store_true", help="accepted for compatibility")
    parser.add_argument(
        "-V", "--version", action="store_true", help=f"print the version ({__version__}) and leave"
    )


if __name__ == "__main__":
    sys.exit(main())
