"""Build and install udocker and its batch integration.

Two import packages come from this tree: ``udocker`` (the runtime) and ``udocker_batch``, whose sources
lie in ``batch/`` and ``templates/``.  The native programs in ``udocker/native`` are compiled here and
installed inside the package, so that nothing is downloaded or built on a cluster node.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
NATIVE = HERE / "udocker" / "native"

# The optimisation is told the linker too: zig adds a C library to match.
CFLAGS = ["-O2", "-Werror"]
WARNINGS = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra"]
# A program that shares its process with others: no C library, one fixed address, nothing to be filled in at
# the start, no registers but the general ones, which zig must be told by the names of the others.
FREESTANDING = [
    "-ffreestanding",
    "-fno-stack-protector",
    "-fcf-protection=none",
    *("-mgeneral-regs-only", "-mno-mmx", "-mno-sse", "-mno-sse2"),
    "-fPIE",
    "-fvisibility=hidden",
    "-fno-asynchronous-unwind-tables",
]


class Program:
    """A native program: its sources relative to udocker/native, and how they are compiled and linked.

    ``machine`` is the one that it is for; on any other ``elsewhere`` is built instead, which says so.
    """

    def __init__(self, sources, compile_flags=(), link_flags=(), machine="", elsewhere=()):
        self.sources, self.compile_flags, self.link_flags = sources, compile_flags, link_flags
        self.machine, self.elsewhere = machine, elsewhere

    def on(self, machine):
        """The same as it is built for a machine."""
        return self if self.machine in ("", machine) else Program(self.elsewhere)


def sources_in(*folders):
    """Every C file of folders of udocker/native."""
    return sorted(
        str(path.relative_to(NATIVE)) for folder in folders for path in (NATIVE / folder).glob("*.c")
    )


PROGRAMS = {
    "udocker-userns": Program(sources_in("userns")),
    "udocker-account": Program(sources_in("account")),
    "udocker-trap": Program(
        sources_in("net", "path", "root", "trap", "tracer"),
        FREESTANDING,
        ["-nostdlib", "-no-pie", f"-Wl,-T,{NATIVE / 'trap' / 'trap.ld'}", "-Wl,--build-id=none"],
        machine="x86_64",
        elsewhere=["elsewhere/trap.c"],
    ),
}

INSTALL_REQUIRES = [
    # HTTP for registries: connection pools, proxies, private CAs and redirects, well kept.  Extra "socks":
    # PySocks, for sites that reach the network through a SOCKS proxy, as udocker 1.3 can by --httpproxy.
    "requests[socks]>=2.25",
    # Job files are YAML; its node marks give the line of a wrong key.
    "PyYAML>=5.4",
    # Job scripts are templates, so that a site can read and replace them.
    "Jinja2>=3.0",
    # Memory and times of a task's processes, sampled while it runs.
    "psutil>=5.8",
    # Usage tables and progress on terminals.
    "rich>=10",
    # Layers compressed with zstd (OCI image specification, media type +zstd).
    "zstandard>=0.15",
    # gzip layers at several times zlib's speed; the standard library's zlib is the fall-back elsewhere.
    "isal>=1.1; platform_machine == 'x86_64' or platform_machine == 'aarch64'",
]

TEST_REQUIRES = [
    "pytest>=7",  # the test runner
    "pytest-xdist>=3.7",  # tests side by side
    "pytest-timeout",  # a test that hangs fails instead of hanging the run
    "hypothesis>=6",  # hostile values for parsers, templates and layers
    "jsonschema",  # job files by their published schema
    "mfusepy>=3",  # a file system whose operations fail on command
]

FUZZ_REQUIRES = [
    "atheris>=2.3",  # fuzzing led by coverage
]

LINT_REQUIRES = [
    "ruff",  # lint and format
    "mypy",  # type checks
    "types-PyYAML",  # stubs for mypy
    "types-requests",
    "types-psutil",
]


def compiler():
    """The C compiler as a command: $CC, else zig's from the ziglang package, else the system's cc."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    probe = [sys.executable, "-m", "ziglang", "version"]
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        # A musl target gives one static program for every node of a cluster, whatever its C library.
        machine = os.uname().machine
        return [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-musl"]
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise SystemExit("setup: no C compiler: install the Python package ziglang, or gcc, or set CC")


def machine_of(command):
    """The machine that a compiler makes programs for, by the first word of its target's name."""
    answer = subprocess.run([*command, "-dumpmachine"], capture_output=True, text=True, check=False).stdout
    return answer.split("-")[0].strip() or os.uname().machine


def call(command):
    """Run a compiler.  Its failure ends the build: setuptools only warns of exceptions in editable ones."""
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        raise SystemExit(f"setup: {shlex.join(command)}: ended with status {status}")


def build_program(command, program, target):
    """Compile and link one program.  In two steps: flags of the one are errors to zig in the other."""
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for source in program.sources:
            objects.append(str(Path(folder) / source.replace("/", "-").replace(".c", ".o")))
            compile_one = ["-c", str(NATIVE / source), "-o", objects[-1]]
            call([*command, *CFLAGS, *WARNINGS, *program.compile_flags, *compile_one])
        call([*command, *CFLAGS, "-static", "-s", *program.link_flags, "-o", str(target), *objects])


def build_native(target):
    """Compile every program of PROGRAMS into the directory ``target``."""
    command = compiler()
    machine = machine_of(command)
    target.mkdir(parents=True, exist_ok=True)
    for name, program in PROGRAMS.items():
        build_program(command, program.on(machine), target / name)
    # What `udocker install` checks them against.
    digests = {name: hashlib.sha256((target / name).read_bytes()).hexdigest() for name in PROGRAMS}
    sums = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    (target / "SHA256SUMS").write_text(sums, encoding="ascii")


class BuildWithNative(build_py):
    """``build_py`` that compiles the native programs as well: in place for an editable install."""

    def run(self):
        super().run()
        editable = getattr(self, "editable_mode", False)
        try:
            build_native(NATIVE / "bin" if editable else Path(self.build_lib) / "udocker" / "native" / "bin")
        except subprocess.CalledProcessError as error:
            # Any other exception is a mere warning to setuptools where it installs in place: what was built
            # before would stay.
            raise SystemExit(f"setup: native programs: {shlex.join(error.cmd)} failed") from error


class PlatformDistribution(Distribution):
    """A wheel with native programs is for one platform, though it has no extension modules."""

    def has_ext_modules(self):
        return True


def packages(folder, name):
    """Every package below ``folder`` under the import name ``name``, with its directory."""
    found = {name: folder}
    for init in sorted((HERE / folder).rglob("__init__.py")):
        relative = init.parent.relative_to(HERE / folder)
        if relative.parts:
            found[".".join([name, *relative.parts])] = str(Path(folder) / relative)
    return found


PACKAGES = {**packages("udocker", "udocker"), **packages("batch", "udocker_batch")}
PACKAGES["udocker_batch.templates"] = "templates"

setup(
    name="udocker-batch",
    version="0.1.0",
    description="Run Docker images without root on batch systems, clusters and grids",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    package_data={
        "udocker": ["py.typed", "cli/completions/*"],
        "udocker_batch": ["py.typed"],
        "udocker_batch.templates": ["*"],
    },
    install_requires=INSTALL_REQUIRES,
    extras_require={"test": TEST_REQUIRES, "lint": LINT_REQUIRES, "fuzz": FUZZ_REQUIRES},
    entry_points={
        "console_scripts": [
            "udocker = udocker.cli.start:start",
            "udocker-batch = udocker_batch.start:start",
            "udocker-sbatch = udocker_batch.slurm.command:main",
            "udocker-srun = udocker_batch.slurm.srun.command:main",
        ]
    },
    cmdclass={"build_py": BuildWithNative},
    distclass=PlatformDistribution,
)
