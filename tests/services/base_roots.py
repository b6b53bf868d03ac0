"""Root file systems as archives: Debians with several versions of glibc, and one of musl.

Each is kept for a week, as a tar archive that an ordinary user can unpack.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Union

from tests.services.base_images import SUITE, WEEK, debian
from tests.services.needs import need_command, need_root
from tests.services.sharing import cache_directory, exclusive

# Where Debian keeps its supported releases, and where it keeps the others.
MIRRORS = ("http://deb.debian.org/debian", "http://archive.debian.org/debian")
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MUSL = Path("/lib/ld-musl-x86_64.so.1")
# What programs do not need; manual pages stay, because some packages insist on their directories.
_EXCLUDED = tuple(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale"))
# The applets of the musl root's busybox, as its configuration calls them.
_BUSYBOX = """
    ASH ASH_ECHO ASH_JOB_CONTROL ASH_PRINTF ASH_TEST BASENAME BUSYBOX CAT CHMOD CP CUT DD DIRNAME
    ECHO ENV FALSE FEATURE_FANCY_SLEEP FEATURE_FIND_TYPE FEATURE_LS_SORTFILES FEATURE_SH_MATH
    FEATURE_STAT_FORMAT FIND FLOAT_DURATION GREP HEAD ID KILL LFS LN LONG_OPTS LS MKDIR MKFIFO MV
    PRINTENV PRINTF PS PWD READLINK REALPATH RM RMDIR SED SEQ SLEEP SORT STAT STTY TAIL TEE TEST
    TEST1 TOUCH TR TRUE TTY UNAME WC XARGS
""".split()  # noqa: SIM905 - six lines read better than sixty


def unpack(archive: Path, directory: Path, identity: Mapping[str, object]) -> None:
    """Unpack an archive as the user of ``identity`` (Popen's options), so that all of it is that user's."""
    command = ["tar", "--no-same-owner", "--no-same-permissions", "--exclude=./dev/*", "-xf", archive]
    result = subprocess.run(command, cwd=directory, capture_output=True, check=False, **identity)  # type: ignore[call-overload]
    if result.returncode != 0:
        raise AssertionError(f"{archive}: {result.stderr.decode(errors='replace')}")


def debian_root(
    suite: str, packages: Sequence[str] = (), kind: str = "python", architecture: str = ""
) -> Path:
    """The archive of a minimal Debian with Python and ``packages``, which make it a ``kind`` of its own.

    ``architecture`` is another one whose programs this machine runs. Half a minute to make. Root only.
    """
    need_root()
    need_command("mmdebstrap", "mmdebstrap")
    name = f"{suite}-{kind}"
    if suite == SUITE and not packages:
        return _kept(name, "", _base_of_the_image)
    wanted = ("python3", *packages)
    options = [f"--architectures={architecture}"] if architecture else []
    return _kept(name, repr((wanted, options)), lambda target: _bootstrap(suite, wanted, target, options))


def foreign_root(suite: str, architecture: str) -> Path:
    """The archive of a Debian for another machine, with Python; unpacked only, for none of it runs here."""
    need_root()
    need_command("mmdebstrap", "mmdebstrap")
    packages = "base-files,base-passwd,bash,coreutils,dash,findutils,grep,libc-bin,python3-minimal,sed"
    options = [f"--architectures={architecture}", "--variant=extract", f"--include={packages}", *_EXCLUDED]

    def make(target: Path) -> None:
        run(["mmdebstrap", *options, suite, target, MIRRORS[0]], target.parent)

    return _kept(f"{suite}-{architecture}", packages, make)


def musl_root() -> Path:
    """The archive of a root whose every program is linked with musl: a busybox made from Debian's source."""
    compiler = need_command("musl-gcc", "musl-tools")
    need_command("dpkg-source", "dpkg-dev")
    need_command("make", "make")
    return _kept("musl", "", lambda target: _make_musl(compiler, target))


def debian_source(package: str, directory: Path) -> Path:
    """The unpacked source of a package of Debian ``SUITE``, in a new directory below ``directory``."""
    need_command("dpkg-source", "dpkg-dev")
    state = directory / "apt"
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    sources = state / "sources.list"
    sources.write_text(f"deb-src [signed-by={KEYS}] {MIRRORS[0]} {SUITE} main\n")
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": state / "lists",
        "Dir::Cache": state,
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in settings.items())]
    run([*apt, "update"], directory)
    run([*apt, "source", "--download-only", package], directory)
    (description,) = directory.glob(f"{package}_*.dsc")
    run(["dpkg-source", "--no-check", "-x", description, directory / package], directory)
    return directory / package


def run(command: Sequence[Union[str, Path]], directory: Path) -> None:
    """Run a command that has to succeed."""
    result = subprocess.run(
        command, cwd=directory, capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False
    )
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {result.returncode}\n{result.stderr}")


def _kept(name: str, variant: str, make: Callable[[Path], None]) -> Path:
    """The archive called ``name``, made where there is none of this recipe, or one that is too old."""
    recipe = hashlib.sha256(Path(__file__).read_bytes() + variant.encode()).hexdigest()[:12]
    directory = cache_directory() / "roots" / name
    archive = directory / f"{recipe}.tar"
    with exclusive(f"root-{name}"):
        if not archive.exists() or time.time() - archive.stat().st_mtime > WEEK:
            shutil.rmtree(directory, ignore_errors=True)  # of another recipe, too old, or half made
            scratch = directory / "scratch"
            scratch.mkdir(parents=True)
            make(scratch / "root.tar")
            os.replace(scratch / "root.tar", archive)
            shutil.rmtree(scratch)
    return archive


def _base_of_the_image(target: Path) -> None:
    """The first layer of the image that the jobs run in, which is a whole Debian already."""
    image = debian()
    layer = next(part for part in image.builder.parts(image.image) if part.media_type.endswith("+gzip"))
    target.write_bytes(gzip.decompress(layer.data))


def _bootstrap(suite: str, packages: Sequence[str], target: Path, options: Sequence[str]) -> None:
    failures = []
    for mirror in MIRRORS:
        included = f"--include={','.join(packages)}"
        command = ["mmdebstrap", "--variant=minbase", included, *_EXCLUDED, *options, suite, target, mirror]
        result = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if result.returncode == 0:
            return
        failures.append(f"{mirror}: {result.stderr[-2000:]}")
    raise AssertionError(f"mmdebstrap {suite}: " + "\n".join(failures))


def _make_musl(compiler: str, target: Path) -> None:
    directory = target.parent
    root = directory / "root"
    for name in ("bin", "etc", "lib", "tmp", "usr/bin", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    shutil.copy(MUSL, root / "lib")  # the loader is the library
    program = _make_busybox(compiler, debian_source("busybox", directory))
    shutil.copy(program, root / "bin/busybox")
    for applet in output([program, "--list"]).split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "usr/bin/env").symlink_to("../../bin/busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    run(["tar", "-C", root, "-cf", target, "."], directory)


def _make_busybox(compiler: str, source: Path) -> Path:
    """Compile busybox with the few applets that the tests call."""
    headers = kernel_headers(source.parent / "headers")
    run(["make", "-s", "allnoconfig"], source)
    settings = source / ".config"
    text = settings.read_text()
    for name in _BUSYBOX:
        missing = f"# CONFIG_{name} is not set\n"
        if missing not in text:
            raise AssertionError(f"busybox: it has no setting {name}")
        text = text.replace(missing, f"CONFIG_{name}=y\n")
    settings.write_text(text)
    # An end of file at the first question that the new settings raise stands for its default, and the rest's.
    run(["make", "-s", "oldconfig"], source)
    run(["make", "-s", "-j2", f"CC={compiler} -idirafter {headers}", "busybox"], source)
    return source / "busybox"


def kernel_headers(directory: Path) -> Path:
    """A directory with the kernel's headers and without the C library's, which are glibc's."""
    directory.mkdir()
    multiarch = output(["gcc", "-print-multiarch"])
    for name in ("linux", "asm-generic", "mtd"):
        (directory / name).symlink_to(f"/usr/include/{name}")
    (directory / "asm").symlink_to(f"/usr/include/{multiarch}/asm")
    return directory


def output(command: Sequence[Union[str, Path]]) -> str:
    """What a command prints, without the end of the last line."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
