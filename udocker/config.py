"""Settings: read once from the environment and udocker.conf, then passed down as one value."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping

from udocker.conffile import KEYS, NAME, WITHOUT_MEANING, Setting, read_file, read_files
from udocker.errors import ConfigError
from udocker.log import Log
from udocker.values import TYPE_CHECKING, dataclass, field

if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from _typeshed import StrPath

# Three years of seconds: more than anybody waits, and less than what overflows a timer.
_MAX_NUMBER = 10**8
# Each directory on the way to a file is open while it is looked up, and processes have 1024 descriptors.
_MAX_DEPTH = 800
_COUNT = r"([0-9]{1,15})([kMGT]?)"
_LARGE = 1 << 62
# The fields of whole numbers by their variables, with the most that they may be; and those of seconds.
_COUNTS = {
    "UDOCKER_REGISTRY_PARALLEL": ("registry_parallel", 64),
    "UDOCKER_REGISTRY_PULLS": ("registry_pulls", 64),
    "UDOCKER_NODE_MAX": ("node_max", _LARGE),
    "UDOCKER_OUTPUT_SIZE": ("output_size", _LARGE),
    "UDOCKER_MAX_FILES": ("max_files", _LARGE),
    "UDOCKER_MAX_BYTES": ("max_bytes", _LARGE),
    "UDOCKER_MAX_DEPTH": ("max_depth", _MAX_DEPTH),
    "UDOCKER_MAX_NAME": ("max_name", _LARGE),
    "UDOCKER_MAX_RATIO": ("max_ratio", _LARGE),
}
_SECONDS = {
    "UDOCKER_LOCK_BEAT": "lock_beat",
    "UDOCKER_LOCK_STALE": "lock_stale",
    "UDOCKER_LOCK_WAIT": "lock_wait",
    "UDOCKER_NODE_KEEP": "node_keep",
}
_log = Log(__name__)
SYSTEM_FILE = f"/etc/{NAME}"
# Where docker and podman, each for all users and for one, look for a registry's authorities
# (docker's "Verify repository client with certificates"; containers-certs.d(5)).
_CERTIFICATE_DIRS = (
    "/etc/docker/certs.d",
    "/etc/containers/certs.d",
    ".config/docker/certs.d",
    ".config/containers/certs.d",
)
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"
_REGISTRY = rf"(?:https?://)?{_HOST}(?:/[a-z0-9._/-]*)?"
_PROXY = rf"(?:https?|socks4a?|socks5h?)://(?:[^\s/?#@]*@)?{_HOST}/?"


@dataclass(frozen=True)
class Config:
    """Everything that can be set; times are in seconds.

    ``lock_beat`` is how often the holder of a lock shows that it lives, ``lock_stale`` how long another
    node sees no beat before it takes the lock over: longer than a client may cache attributes.
    ``lock_wait`` bounds the wait for somebody else's pull and unpacking.  ``proot`` is a PRoot that
    engine P uses in place of its own tracer, a path or a name in PATH.  ``workspace`` is a directory below
    the store's ``tmp`` for what is being made, so that it can be cleared when its maker has died.  ``lower``
    are stores of others, such as the site's, that are read where the own one lacks something.
    ``tarball`` is a file or URL of engines, ``log_level`` udocker 1.3's measure of how much is told.
    ``execution_mode`` is for containers that have none recorded.  ``output_size`` is how many bytes are kept
    of what a program in the background prints.
    ``max_files`` to ``max_ratio`` are what an image may hold (udocker/store/limits.py), in members, bytes,
    directories, bytes and bytes out of one.

    ``hub_registry`` is where names of docker.io are.  ``registry_mirrors`` are pairs of a registry and a
    mirror of it, in the order in which they are asked; ``registry_parallel`` is how many layers are fetched
    at a time.  ``http_proxy`` comes before the environment's proxies.  ``certificate_dirs`` hold a directory
    of authorities for each ``HOST[:PORT]``.  ``registry_pulls`` is how many images are pulled at a time by
    all jobs that share a store.

    ``node_dir`` is where batch jobs keep copies of containers on a node (empty: in the job's temporary
    directory), ``node_max`` how many bytes they may take (0: as the disk allows), ``node_keep`` how long one
    stays that nobody uses.
    """

    udocker_dir: str
    insecure: bool = False
    insecure_registries: frozenset[str] = frozenset()
    docker_config: Optional[str] = None
    keystore: Optional[str] = None
    hub_index: str = "https://hub.docker.com"
    registry_timeout: float = 30.0
    registry_retries: int = 5
    lock_beat: float = 5.0
    lock_stale: float = 90.0
    lock_wait: float = 3600.0
    workspace: str = ""
    log_level: int = 3
    tarball: str = ""
    proot: str = ""
    lower: tuple[str, ...] = ()
    execution_mode: str = ""
    engine_without: tuple[str, ...] = ()
    output_size: int = 20 << 20
    max_files: int = 1_000_000
    max_bytes: int = 1 << 40
    max_depth: int = 512
    max_name: int = 4096
    max_ratio: int = 200
    hub_registry: str = "https://registry-1.docker.io"
    registry_mirrors: tuple[tuple[str, str], ...] = ()
    registry_parallel: int = 3
    http_proxy: str = field(default="", repr=False)
    certificate_dirs: tuple[str, ...] = ()
    registry_pulls: int = 4
    node_dir: str = ""
    node_max: int = 0
    node_keep: float = 3600.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], file: Optional[StrPath] = None) -> Config:
        """Read UDOCKER_*, udocker.conf where a variable is not set, and what docker reads.

        The files are /etc/udocker.conf, ~/.udocker/udocker.conf, the one in UDOCKER_DIR, and ``file``;
        later ones win.  Raises ConfigError naming the variable or the file.
        """
        home = environ.get("HOME") or _home_of_user()
        settings = _settings(environ, home, file)
        directory = settings["UDOCKER_DIR"].text if "UDOCKER_DIR" in settings else ""
        docker = environ.get("DOCKER_CONFIG") or (home and os.path.join(home, ".docker"))
        if not directory:
            raise ConfigError("configuration: UDOCKER_DIR: not set, and nor is HOME", "set UDOCKER_DIR")
        registries = _text(settings, "UDOCKER_INSECURE_REGISTRIES")
        # udocker 1.3 keeps passwords in the home directory, wherever the store is.
        private = os.path.join(home, ".udocker") if home else directory
        keystore = os.path.join(private, _text(settings, "UDOCKER_KEYSTORE") or "keystore")
        return cls(
            udocker_dir=os.path.abspath(directory),
            insecure=_flag(settings, "UDOCKER_INSECURE"),
            insecure_registries=frozenset(name.strip() for name in registries.split(",") if name.strip()),
            docker_config=os.path.join(docker, "config.json") if docker else None,
            keystore=os.path.abspath(keystore),
            hub_index=_parsed(settings, "UDOCKER_INDEX", index_address, cls.hub_index),
            hub_registry=_parsed(settings, "UDOCKER_REGISTRY", registry_url, cls.hub_registry),
            registry_mirrors=mirrors(_text(settings, "UDOCKER_REGISTRY_MIRRORS")),
            **_counts(settings),
            node_dir=_absolute(settings, "UDOCKER_NODE_DIR"),
            http_proxy=proxy_url(_text(settings, "UDOCKER_HTTP_PROXY")),
            certificate_dirs=_certificate_dirs(home),
            registry_timeout=_positive(settings, "UDOCKER_REGISTRY_TIMEOUT", cls.registry_timeout, 1e-3),
            registry_retries=int(_positive(settings, "UDOCKER_REGISTRY_RETRIES", cls.registry_retries)),
            **_seconds(settings),
            log_level=_level(settings),
            tarball=_text(settings, "UDOCKER_TARBALL"),
            proot=_proot(settings),
            lower=_lower(settings, directory),
            execution_mode=_text(settings, "UDOCKER_DEFAULT_EXECUTION_MODE"),
            engine_without=tuple(_text(settings, "UDOCKER_ENGINE_WITHOUT").replace(",", " ").split()),
        )


def _settings(environ: Mapping[str, str], home: str, file: Optional[StrPath]) -> dict[str, Setting]:
    """Every setting that is not empty, by its variable; the directory is always there but without a home."""
    default = os.path.join(home, ".udocker") if home else ""
    variables = {name: Setting(environ[name], name) for name in KEYS.values() if environ.get(name)}
    places = [SYSTEM_FILE, *([os.path.join(default, NAME)] if default else [])]
    found = read_files(places)
    given = read_file(file, required=True) if file is not None else {}
    if default:
        found.setdefault("UDOCKER_DIR", Setting(default, "HOME"))
    directory = {**found, **given, **variables}.get("UDOCKER_DIR")
    if directory is not None and directory.text != default:
        # Which store it is has been settled: its own file has no say in that.
        store = read_file(os.path.join(directory.text, NAME))
        found.update({**store, "UDOCKER_DIR": directory})
    for name in WITHOUT_MEANING:
        if environ.get(name):
            _log.debug("configuration: %s: has no meaning here", name)
    settings = {**found, **given, **variables}
    _require_one_directory(settings)
    return settings


def _require_one_directory(settings: Mapping[str, Setting]) -> None:
    """What is published is renamed from one part of the store to another, which lie in one file system."""
    root = os.path.abspath(_text(settings, "UDOCKER_DIR"))
    for part in ("repos", "layers", "containers"):
        text, origin = settings.get(f"UDOCKER_{part.upper()}", Setting("", ""))
        if text and os.path.abspath(text) != os.path.join(root, part):
            raise ConfigError(
                f"configuration: {origin}={text!r}: a store is one directory here", "set UDOCKER_DIR alone"
            )


def _text(settings: Mapping[str, Setting], name: str) -> str:
    return settings[name].text if name in settings else ""


def _parsed(settings: Mapping[str, Setting], name: str, parse: Callable[[str], str], default: str) -> str:
    """What is set, checked; the default is as it is."""
    return parse(settings[name].text) if name in settings else default


def _proot(settings: Mapping[str, Setting]) -> str:
    """udocker 1.3 has a word for its own program."""
    text = _text(settings, "UDOCKER_USE_PROOT_EXECUTABLE")
    return "" if text == "UDOCKER" else text


def _level(settings: Mapping[str, Setting]) -> int:
    """How much is told, in udocker 1.3's numbers: -1 is nothing, 3 its default, 5 for debugging."""
    text, origin = settings.get("UDOCKER_LOGLEVEL", Setting(str(Config.log_level), ""))
    if text not in map(str, range(-1, 6)):
        raise ConfigError(f"configuration: {origin}={text!r}: not a number from -1 to 5")
    return int(text)


def _lower(settings: Mapping[str, Setting], own: str) -> tuple[str, ...]:
    """Directories separated by colons, in their order; the own one among them is left out."""
    text, origin = settings.get("UDOCKER_LOWER", Setting("", "UDOCKER_LOWER"))
    found = dict.fromkeys(part for part in text.split(":") if part)
    for part in found:
        if not part.startswith("/"):
            raise ConfigError(f"configuration: {origin}={text!r}: {part!r} is not an absolute path")
        if not os.path.isdir(part):
            # No failure: a node on which the site's file system is not mounted has the rest still.
            _log.warning("configuration: %s: %s: no such directory", origin, part)
    paths = [os.path.normpath(part) for part in found]
    return tuple(path for path in paths if path != os.path.abspath(own))


def _certificate_dirs(home: str) -> tuple[str, ...]:
    return tuple(os.path.join(home, name) for name in _CERTIFICATE_DIRS if home or name[0] == "/")


def _home_of_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""  # a cluster's nodes need not know every user; UDOCKER_DIR does without


def index_address(text: str) -> str:
    """The URL of an index, with a scheme; raises ConfigError."""
    url = text if "://" in text else f"https://{text}"
    if not re.fullmatch(r"https?://[^/@?#\s]+(/[^?#\s]*)?", url):
        raise ConfigError(f"configuration: UDOCKER_INDEX={text!r}: not the address of an index")
    return url


def registry_url(text: str) -> str:
    """The URL of a registry, with a scheme; raises ConfigError."""
    if not re.fullmatch(_REGISTRY, text):
        cause = f"configuration: UDOCKER_REGISTRY={text!r}: not the address of a registry"
        raise ConfigError(cause, "write https://HOST[:PORT]")
    return text if "://" in text else f"https://{text}"


def _counts(settings: Mapping[str, Setting]) -> dict[str, Any]:
    return {
        field: _count(settings, name, getattr(Config, field), most) for name, (field, most) in _COUNTS.items()
    }


def _seconds(settings: Mapping[str, Setting]) -> dict[str, Any]:
    return {field: _positive(settings, name, getattr(Config, field)) for name, field in _SECONDS.items()}


def _absolute(settings: Mapping[str, Setting], name: str) -> str:
    text, origin = settings.get(name, Setting("", name))
    if text and not text.startswith("/"):
        raise ConfigError(f"configuration: {origin}={text!r}: not an absolute path")
    return text


def mirrors(text: str) -> tuple[tuple[str, str], ...]:
    """Pairs of a registry and its mirror's URL; one without a registry is docker.io's.

    Raises ConfigError.
    """
    found = []
    for entry in text.replace(",", " ").split():
        registry, equals, mirror = entry.rpartition("=")
        if not re.fullmatch(_HOST if equals else "", registry) or not re.fullmatch(_REGISTRY, mirror):
            cause = f"configuration: UDOCKER_REGISTRY_MIRRORS: {entry!r}: not a registry and its mirror"
            raise ConfigError(cause, "as in docker.io=mirror.example:5000,quay.io=https://mirror2.example")
        found.append((registry.lower() or "docker.io", mirror if "://" in mirror else f"https://{mirror}"))
    return tuple(found)


def proxy_url(text: str) -> str:
    """The URL of a proxy, with a scheme; empty for none.  Raises ConfigError, which shows no password."""
    url = text if "://" in text or not text else f"http://{text}"
    if url and not re.fullmatch(_PROXY, url):
        cause = f"configuration: proxy ...{text.rpartition('@')[2]!r}: not the address of a proxy"
        raise ConfigError(cause, "write http://, socks4://, socks4a://, socks5:// or socks5h:// HOST:PORT")
    return url


def _positive(settings: Mapping[str, Setting], name: str, default: float, least: float = 0.0) -> float:
    if name not in settings:
        return default
    text, origin = settings[name]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= _MAX_NUMBER:
        raise ConfigError(f"configuration: {origin}={text!r}: not a number from {least:g} to {_MAX_NUMBER}")
    return value


def _count(settings: Mapping[str, Setting], name: str, default: int, most: int = _LARGE) -> int:
    """A whole number from 1 to ``most``, which may end in k, M, G or T, each 1024 times the one before."""
    if name not in settings:
        return default
    text, origin = settings[name]
    match = re.fullmatch(_COUNT, text)
    unit = "kMGT".index(match[2]) + 1 if match and match[2] else 0
    value = int(match[1]) << 10 * unit if match else 0
    if not 1 <= value <= most:
        bound = f"from 1 to {most}" if most < _LARGE else "from 1 on"
        hint = "k, M, G and T may follow it"
        raise ConfigError(f"configuration: {origin}={text!r}: not a whole number {bound}", hint)
    return value


def _flag(settings: Mapping[str, Setting], name: str) -> bool:
    text, origin = settings.get(name, Setting("", name))
    if text.lower() in ("", "0", "no", "false"):
        return False
    if text.lower() in ("1", "yes", "true"):
        return True
    raise ConfigError(f"configuration: {origin}={text!r}: not a yes or no", "use 1 or 0")
