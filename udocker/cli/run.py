"""``udocker run``."""

from __future__ import annotations

import os
import sys

from udocker.config import Config
from udocker.errors import NotFoundError, StoreError, UsageError
from udocker.log import Log
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.model.runspec import Accounts, RunSpec
from udocker.run.execute import execute
from udocker.run.notes import drop, note
from udocker.run.plan import choice_of, plan_run
from udocker.store.containers import check_name
from udocker.store.store import Store
from udocker.system.host import GRAPHICS_DIRECTORIES
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import Optional, Union

    from udocker.cli.parser import Parser
    from udocker.cli.usual import Declarations
    from udocker.engine.base import Launch
    from udocker.model.port import PublishedPort

    Declaring = Union[Parser, Declarations]

DESCRIPTION = """Run a command in a container, or in a new one of an image (pulled where it is not here).

The exit status is the command's; 125 where udocker itself fails, 126 where the command cannot be
executed, 127 where it is not found."""

_PULL_POLICIES = ("missing", "never", "always", "reuse")
# Not every host has these: udocker 1.3 passes over them as well.
_OPTIONAL = ("/etc/resolv.conf", "/etc/host.conf", "/lib/modules", *GRAPHICS_DIRECTORIES)
_LOG = Log(__name__)


def add_arguments(parser: Declaring) -> None:
    """Declare the command's options, docker's and udocker's."""
    _add_image_options(parser)
    _add_process_options(parser)
    _add_host_options(parser)
    _add_compatible_options(parser)
    parser.add_argument("object", metavar="CONTAINER|IMAGE", nargs="?", default="")
    parser.add_argument("command", metavar="COMMAND", nargs=parser.REST, help="and its arguments")


def _add_image_options(parser: Declaring) -> None:
    add = parser.add_argument_group("container and image").add_argument
    add("-d", "--detach", action="store_true", help="run in the background, and print the container's id")
    add("--name", default="", help="a name for the container")
    add(
        "--rm",
        action="store_true",
        help="remove the container at the end, unless it is protected or the site's",
    )
    add("--pull", action="store_true", help="--pull=missing, never, always, or reuse the container of --name")
    for policy in _PULL_POLICIES:
        # Each an option of its own, because the word after a mere --pull is the image.
        text = parser.HIDDEN
        add(f"--pull={policy}", dest="policy", action="store_const", const=policy, default="", help=text)
    add("-q", "--quiet", action="store_true", help="show no progress of a pull")
    add("--platform", default="", metavar="OS/ARCH", help="pull the image for this platform")
    for name in ("--registry", "--index", "--httpproxy"):
        add(name, default="", metavar="URL", help="as for udocker pull")
    add("--nometa", action="store_true", help="ignore what the image says of how to run it")
    add(
        "--location",
        default="",
        metavar="DIR",
        help="run in this root directory instead; the word that would name a container is passed over",
    )
    add("--execmode", default="", metavar="MODE", help="the execution mode, as R1, T1 or T2")


def _add_process_options(parser: Declaring) -> None:
    add = parser.add_argument_group("program").add_argument
    add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable")
    add("--env-file", action="append", default=[], metavar="FILE", help="set those of a file, one a line")
    add("--hostenv", action="store_true", help="pass all variables of the host")
    add("-w", "--workdir", default="", metavar="DIR", help="the directory to run in")
    add(
        "-u",
        "--user",
        default="",
        metavar="USER[:GROUP]",
        help="name or number; root where the image has none; a new name gets the caller's numbers",
    )
    add("--hostauth", action="store_true", help="show the host's users and groups")
    add("--containerauth", action="store_true", help="show the container's users and groups as they are")
    add("--entrypoint", default=None, metavar="COMMAND", help="instead of the image's; '' for none")
    add("--cpuset-cpus", default="", metavar="LIST", help="run on these processors: 0,2,4-7")


def _add_host_options(parser: Declaring) -> None:
    add = parser.add_argument_group("what is seen of the host").add_argument
    add("-v", "--volume", action="append", default=[], metavar="SOURCE[:TARGET][:ro]", help="bind a path")
    add("--novol", action="append", default=[], metavar="SOURCE", help="do not bind it after all")
    add("--nosysdirs", action="store_true", help="bind none of the host's system paths: /dev, /proc, /sys...")
    add("--bindhome", action="store_true", help="bind the home directory at its path")
    add("--device", action="append", default=[], metavar="DEVICE[:TARGET]", help="show a device")
    add("--dri", action="store_true", help="bind what direct rendering needs")
    add(
        "-p",
        "--publish",
        action="append",
        default=[],
        metavar="[[ADDRESS:]PORT:]PORT",
        help="the host's port for one of the container's; others have their own number, for the network is "
        "the host's (modes T and P)",
    )
    add(
        "-P",
        "--publish-all",
        "--netcoop",
        action="store_true",
        help="a free port of the host for each that the image exposes: see udocker port",
    )


def _add_compatible_options(parser: Declaring) -> None:
    add = parser.add_argument_group("for compatibility").add_argument
    add("-i", "--interactive", action="store_true", help="accepted: standard input is always passed")
    add("-t", "--tty", action="store_true", help="accepted: a terminal is always passed")
    add("-a", action="store_true", help="accepted: output is always attached")
    add("--nobanner", action="store_true", help="accepted: there is no banner")
    add("--kernel", default="", metavar="RELEASE", help="the release that uname shows, in the modes T and P")
    add("--shm-size", default="", metavar="SIZE", help="accepted: /dev/shm is the host's")
    for name in ("--volumes-from", "--dns", "--dns-search"):
        add(name, action="append", default=[], metavar="TEXT", help="without effect, as in udocker 1.3")


def run(config: Config, options: argparse.Namespace) -> int:
    """Run; without ``--rm`` this process becomes the command."""
    _settle_words(options)
    spec = _spec(options)
    _tell_of_the_impossible(options)
    if options.cpuset_cpus:
        from udocker.model.cpus import parse_cpus
        from udocker.run.affinity import restrict_to

        restrict_to(parse_cpus(options.cpuset_cpus))
    container, is_new = _container(config, options)
    store = Store.at(config)
    containers = store.containers
    is_kept = options.location or not containers.is_own(container.directory)
    remove = options.rm and not is_kept and not containers.is_protected(container.directory)
    if remove or options.detach:
        from udocker.cli.keptrun import run_kept  # not for those who become the program

        return run_kept(config, container, options, spec, remove, is_new)
    choice = choice_of(config, container, spec)
    launch = plan_run(config, container, spec, os.environ, choice=choice)
    ports = ports_of(launch, options)
    path = None if container.location else note(container, launch, choice[1].value, ports=ports)
    try:
        execute(launch)
    finally:
        drop(path)  # it has not become the program


def ports_of(launch: Launch, options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """The ports that the host has under other numbers; those that nobody chose are told."""
    if not (options.publish or options.publish_all):
        return ()
    from udocker.run.ports import published

    ports = published(launch)
    for inner, outer in ports if options.publish_all and not options.quiet else ():
        sys.stderr.write(f"udocker: {inner} -> {outer}\n")
    return ports


def _settle_words(options: argparse.Namespace) -> None:
    """Give the words after the options their meaning: ``--pull always IMAGE`` is docker's spelling."""
    if options.pull and not options.policy and options.object in _PULL_POLICIES:
        options.policy, options.object = options.object, ""
        from udocker.cli.parser import Parser  # usual lines need none

        rest = Parser(prog="udocker run")
        add_arguments(rest)
        rest.parse_args(options.command, options)
    if options.detach and options.location:
        raise UsageError("run: --detach with --location: no container that could be known afterwards")
    if not options.object and not options.location:
        raise UsageError("run: no container and no image given", "see udocker run --help")


def _spec(options: argparse.Namespace) -> RunSpec:
    return RunSpec(
        command=tuple(options.command),
        entrypoint=_entrypoint(options.entrypoint),
        env=tuple(environment(options)),
        workdir=options.workdir,
        user=options.user,
        mounts=tuple(_volumes(options.volume)),
        mode=ExecutionMode.parse(options.execmode) if options.execmode else None,
        system_mounts=not options.nosysdirs,
        devices=tuple(Mount.parse_device(text) for text in options.device),
        excluded=tuple(options.novol),
        host_env=options.hostenv,
        metadata=not options.nometa,
        accounts=_accounts(options),
        bind_home=options.bindhome,
        graphics=options.dri,
        kernel=options.kernel,
        ports=tuple(_ports(options.publish)),
        publish_all=options.publish_all,
    )


def _volumes(texts: list[str]) -> Iterator[Mount]:
    """The mounts; one without a source is refused now, before anything is pulled or made for it."""
    for text in texts:
        mount = Mount.parse(text, _directory())
        if os.path.lexists(mount.source):
            yield mount
        elif mount.source not in _OPTIONAL:
            raise UsageError(f"volume: {mount.source}: not on this host", "create it before the run")


def _ports(texts: list[str]) -> Iterator[PublishedPort]:
    if texts:
        from udocker.model.port import PublishedPort

        yield from map(PublishedPort.parse, texts)


def _entrypoint(text: Optional[str]) -> Optional[tuple[str, ...]]:
    if text is None:
        return None
    import shlex  # few runs give one

    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"run: --entrypoint {text!r}: {error}", "quote as in a shell") from None


def _accounts(options: argparse.Namespace) -> Accounts:
    if options.containerauth:  # which wins over --hostauth in udocker 1.3, too
        return Accounts.CONTAINER
    return Accounts.HOST if options.hostauth else Accounts.EXTENDED


def _directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/proc/self/cwd"  # deleted under us: an absolute path needs none, others are not found


def environment(options: argparse.Namespace, act: str = "run") -> Iterator[tuple[str, str]]:
    """The variables of files, then those of the command line of ``act``, which win; raises UsageError."""
    if options.env_file:
        from udocker.run.envfile import read_env_file

        for path in options.env_file:
            yield from read_env_file(path, os.environ, act)
    for text in options.env:
        yield from _variable(text, act)


def _variable(text: str, act: str) -> list[tuple[str, str]]:
    """``NAME=VALUE``, or ``NAME`` for the value that it has here, if any, as docker does."""
    name, equals, value = text.partition("=")
    if not name:
        raise UsageError(f"{act}: --env {text!r}: no name", "write NAME=VALUE")
    if equals:
        return [(name, value)]
    return [(name, os.environ[name])] if name in os.environ else []


def _tell_of_the_impossible(options: argparse.Namespace) -> None:
    """One line for each wish that this version cannot fulfil; the run goes on, as in udocker 1.3."""
    for name in ("volumes_from", "dns", "dns_search"):
        for text in getattr(options, name):
            _LOG.warning("run: --%s %s: has no effect, as in udocker 1.3", name.replace("_", "-"), text)


def _container(config: Config, options: argparse.Namespace) -> tuple[Container, bool]:
    """The container to run in, and whether it was made for this run."""
    if options.location:
        return Container.at_location(_directory(), options.location), False
    store = Store.at(config)
    for name in (options.name if options.policy == "reuse" else "", options.object):
        try:
            container = store.containers.find(name)
        except NotFoundError:
            continue  # then it is an image
        if options.name and options.name not in container.names:
            store.containers.name(container.id, options.name)
        return container, False
    if options.name:
        check_name(options.name)
        if store.containers.is_taken(options.name):
            raise StoreError(
                f"run: {options.name}: name already taken",
                f"udocker run {options.name} ..., or --pull=reuse",
            )
    # Imported only here: running a container that is there needs no HTTP, and half the start-up is imports.
    from udocker.cli.newcontainer import new_container

    try:
        return new_container(config, options), True
    except StoreError:
        if options.policy != "reuse" or not options.name or not store.containers.is_taken(options.name):
            raise
        return store.containers.find(options.name), False  # somebody else made it meanwhile
