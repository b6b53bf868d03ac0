"""udocker.conf: settings in files, in the format and the places of udocker 1.3.

::

    [DEFAULT]
    topdir = /scratch/me/udocker
    http_insecure = False
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from udocker.errors import ConfigError
from udocker.log import Log
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from _typeshed import StrPath

NAME = "udocker.conf"
# udocker 1.3's keys that mean something here, then our own, each with the variable that it stands for.
KEYS = {
    "topdir": "UDOCKER_DIR",
    "keystore": "UDOCKER_KEYSTORE",
    "dockerio_index_url": "UDOCKER_INDEX",
    "dockerio_registry_url": "UDOCKER_REGISTRY",
    "http_proxy": "UDOCKER_HTTP_PROXY",
    "http_insecure": "UDOCKER_INSECURE",
    "timeout": "UDOCKER_REGISTRY_TIMEOUT",
    "override_default_execution_mode": "UDOCKER_DEFAULT_EXECUTION_MODE",
    "verbose_level": "UDOCKER_LOGLEVEL",
    "tarball": "UDOCKER_TARBALL",
    "use_proot_executable": "UDOCKER_USE_PROOT_EXECUTABLE",
    "reposdir": "UDOCKER_REPOS",
    "layersdir": "UDOCKER_LAYERS",
    "containersdir": "UDOCKER_CONTAINERS",
    "insecure_registries": "UDOCKER_INSECURE_REGISTRIES",
    "registry_timeout": "UDOCKER_REGISTRY_TIMEOUT",
    "registry_retries": "UDOCKER_REGISTRY_RETRIES",
    "registry_mirrors": "UDOCKER_REGISTRY_MIRRORS",
    "registry_parallel": "UDOCKER_REGISTRY_PARALLEL",
    "registry_pulls": "UDOCKER_REGISTRY_PULLS",
    "node_dir": "UDOCKER_NODE_DIR",
    "node_max": "UDOCKER_NODE_MAX",
    "node_keep": "UDOCKER_NODE_KEEP",
    "lower": "UDOCKER_LOWER",
    "engine_without": "UDOCKER_ENGINE_WITHOUT",
    "output_size": "UDOCKER_OUTPUT_SIZE",
    "lock_beat": "UDOCKER_LOCK_BEAT",
    "lock_stale": "UDOCKER_LOCK_STALE",
    "lock_wait": "UDOCKER_LOCK_WAIT",
    "max_files": "UDOCKER_MAX_FILES",
    "max_bytes": "UDOCKER_MAX_BYTES",
    "max_depth": "UDOCKER_MAX_DEPTH",
    "max_name": "UDOCKER_MAX_NAME",
    "max_ratio": "UDOCKER_MAX_RATIO",
}
# Variables of udocker 1.3 for what this program has not: other engines, curl, a directory for downloads.
WITHOUT_MEANING = (
    "UDOCKER_BIN",
    "UDOCKER_LIB",
    "UDOCKER_DOC",
    "UDOCKER_TMP",
    "UDOCKER_FAKECHROOT_SO",
    "UDOCKER_FAKECHROOT_LIBC",
    "UDOCKER_FAKECHROOT_CMD_SUBST",
    "UDOCKER_FAKECHROOT_EXPAND_SYMLINKS",
    "UDOCKER_USE_CURL_EXECUTABLE",
    "UDOCKER_USE_RUNC_EXECUTABLE",
    "UDOCKER_USE_SINGULARITY_EXECUTABLE",
    "UDOCKER_USE_PATCHELF_EXECUTABLE",
)
_LARGEST = 1 << 20
_HINT = "its first line is [DEFAULT], the others are key = value"

_log = Log(__name__)


@dataclass(frozen=True)
class Setting:
    """The text of a setting and where it is from, for messages."""

    text: str
    origin: str

    def __iter__(self) -> Iterator[str]:
        """The two in this order."""
        return iter((self.text, self.origin))


def read_files(paths: Iterable[StrPath]) -> dict[str, Setting]:
    """The settings of all files that there are, by variable; later files win.  Raises ConfigError."""
    found: dict[str, Setting] = {}
    for path in paths:
        found.update(read_file(path))
    return found


def read_file(path: StrPath, required: bool = False) -> dict[str, Setting]:
    """The settings of one file by variable, none if it is missing and not ``required``.

    Raises ConfigError.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        if required:
            raise ConfigError(f"configuration: {path}: {error.strerror}") from error
        return {}
    except OSError as error:
        is_closed = isinstance(error, PermissionError) and not os.access(os.path.dirname(path), os.X_OK)
        if is_closed and not required:
            # A directory closed to this user, such as a home on a node: nothing in it is for us.
            _log.debug("configuration: %s: %s", path, error.strerror)
            return {}
        raise ConfigError(f"configuration: {path}: {error.strerror}", "make it readable") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"configuration: {path}: not a text in UTF-8", _HINT) from error
    return _settings(path, text)


def _settings(path: StrPath, text: str) -> dict[str, Setting]:
    if "\0" in text:
        raise ConfigError(f"configuration: {path}: not a text", _HINT)
    # Few users have such a file: others do not pay for the import at each start.
    import configparser

    parser = configparser.ConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        cause = str(error).splitlines()[0]
        raise ConfigError(f"configuration: {path}: {cause}", _HINT) from error
    found = {}
    defaults = parser.defaults()
    for key in defaults:
        if key not in KEYS:
            _log.debug("configuration: %s: %s: has no meaning here", path, key)
    for key, variable in KEYS.items():
        if key not in defaults:
            continue
        try:
            value = parser.get(parser.default_section, key).strip()
        except configparser.InterpolationError as error:
            cause = f"{key}: a % that names no other key"
            raise ConfigError(f"configuration: {path}: {cause}", "write %% for %") from error
        if value:
            found[variable] = Setting(value, f"{path}: {key}")
    return found
