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
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
NATIVE = HERE / "udocker" / "native"

# Each native program and its sources, relative to udocker/native.
PROGRAMS = {
    "udocker-userns": [
        "userns/userns.c",
        "userns/namespace.c",
        "userns/target.c",
        "userns/tree.c",
        "userns/scratch.c",
        "userns/report.c",
    ],
}

CFLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s"]

INSTALL_REQUIRES = [
    # HTTP for registries: connection pools, proxies, private CAs and redirects, well kept.  Extra "socks":
    # PySocks, for sites that reach the network through a SOCKS proxy, as udocker 1.3 can by --httpproxy.
    "requests[socks]>=2.25",
    # Job files are YAML; its node marks give the line of a wrong key.
    "PyYAML>=5.4",
    # Job scripts are templates, so that a site can read and replace them.
    "Jinja2>=3.0",
    # Process tables, memory and I/O counters of a task's processes.
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
    "pytest-timeout",  # a test that hangs fails instead of hanging the run
    "hypothesis>=6",  # hostile values for parsers, templates and layers
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


def build_native(target):
    """Compile every program of PROGRAMS into the directory ``target``."""
    command = compiler()
    target.mkdir(parents=True, exist_ok=True)
    for program, sources in PROGRAMS.items():
        paths = [str(NATIVE / source) for source in sources]
        subprocess.run([*command, *CFLAGS, "-o", str(target / program), *paths], check=True)
    # What `udocker install` checks them against.
    digests = {program: hashlib.sha256((target / program).read_bytes()).hexdigest() for program in PROGRAMS}
    sums = "".join(f"{digest}  {program}\n" for program, digest in digests.items())
    (target / "SHA256SUMS").write_text(sums, encoding="ascii")


class BuildWithNative(build_py):
    """``build_py`` that compiles the native programs as well: in place for an editable install."""

    def run(self):
        super().run()
        if getattr(self, "editable_mode", False):
            build_native(NATIVE / "bin")
        else:
            build_native(Path(self.build_lib) / "udocker" / "native" / "bin")


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
            "udocker-batch = udocker_batch.cli:main",
            "udocker-sbatch = udocker_batch.slurm.command:main",
        ]
    },
    cmdclass={"build_py": BuildWithNative},
    distclass=PlatformDistribution,
)
