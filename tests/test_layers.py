"""The rules of docs/architecture.md that can be read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Optional

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"udocker": ROOT / "udocker", "udocker_batch": ROOT / "batch"}

# From top to bottom, with the modules of each layer; the first pattern that fits a module counts.
LAYERS = {
    "commands": (
        "udocker.cli.*",
        "udocker_batch.cli",
        "udocker_batch",
        "udocker_batch.arguments",
        "udocker_batch.interface",
        "udocker_batch.onnode",
        "udocker_batch.start",
        "udocker_batch.*.command",
        "udocker_batch.*.__main__",
    ),
    "orchestration": (
        "udocker.api",
        "udocker.run.*",
        "udocker_batch.doubts",
        "udocker_batch.reasons",
        "udocker_batch.submission",
        "udocker_batch.prepare",
        "udocker_batch.rank",
        "udocker_batch.recording",
        "udocker_batch.once",
        "udocker_batch.nodestore",
        "udocker_batch.staging",
        "udocker_batch.task",
        "udocker_batch.accounting.*",
    ),
    "back ends": ("udocker.engine.*", "udocker_batch.local.*", "udocker_batch.slurm.*"),
    "services": (
        "udocker.registry.*",
        "udocker.store.*",
        "udocker_batch.scheduler",
        "udocker_batch.render",
        "udocker_batch.environment",
    ),
    "model": (
        "udocker.model.*",
        "udocker_batch.jobfile",
        "udocker_batch.jobspec",
        "udocker_batch.taskspec",
        "udocker_batch.usage",
    ),
    "base": (
        "udocker_batch.doctor",
        "udocker_batch.job",
        "udocker",
        "udocker.config",
        "udocker.conffile",
        "udocker.errors",
        "udocker.log",
        "udocker.values",
        "udocker.system.*",
        "udocker_batch.errors",
        "udocker_batch.files",
        "udocker_batch.identity",
        "udocker_batch.nearest",
        "udocker_batch.stage",
        "udocker_batch.process",
        "udocker_batch.siblings",
        "udocker_batch.script",
        "udocker_batch.sizes",
    ),
}
ORDER = tuple(LAYERS)
ENGINES_SHARE = {"base", "binaries", "launcher", "ports", "translator"}
COMMANDS = ("udocker.cli.*", "udocker_batch.cli", "udocker_batch.onnode", "udocker_batch.*.command")
WRITES = {
    f"sys.{stream}.{how}" for stream in ("stdout", "__stdout__") for how in ("write", "writelines", "buffer")
}
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 45


@dataclass(frozen=True)
class Module:
    """A Python file of ours under the name it is imported by."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def _read(top: str, folder: Path, path: Path) -> Module:
    parts = [top, *path.relative_to(folder).with_suffix("").parts]
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))


MODULES = {
    module.name: module
    for top, folder in FOLDERS.items()
    for module in (_read(top, folder, path) for path in sorted(folder.rglob("*.py")))
}


def _imports(module: Module) -> Iterator[str]:
    """The modules of ours that it imports, wherever in the file."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            inside = [f"{base}.{alias.name}" for alias in node.names]
            # `from package import name`: the name may be a module, or something in the package.
            names = [name if name in MODULES else base for name in inside]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in FOLDERS)


def _base(module: Module, node: ast.ImportFrom) -> str:
    package = module.package.split(".")
    relative = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*relative, *([node.module] if node.module else [])])


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or name == pattern.removesuffix(".*")


def _layer(name: str) -> Optional[str]:
    return next((layer for layer in ORDER if any(_fits(name, pattern) for pattern in LAYERS[layer])), None)


IMPORTS = sorted({(module.name, imported) for module in MODULES.values() for imported in _imports(module)})


def test_relative_imports_are_understood() -> None:
    assert ("udocker_batch.slurm.scheduler", "udocker_batch.scheduler") in IMPORTS


@pytest.mark.parametrize("name", MODULES)
def test_module_has_a_layer(name: str) -> None:
    assert _layer(name) is not None, f"{name}: add it to LAYERS and to docs/architecture.md"


def test_imports_point_down_only() -> None:
    upward = [
        f"{importer} ({_layer(importer)}) imports {imported} ({_layer(imported)})"
        for importer, imported in IMPORTS
        if importer.partition(".")[0] == imported.partition(".")[0]
        and ORDER.index(_layer(importer) or ORDER[0]) > ORDER.index(_layer(imported) or ORDER[-1])
    ]
    assert upward == []


def test_batch_uses_the_runtime_through_its_api_only() -> None:
    direct = [
        f"{importer} imports {imported}"
        for importer, imported in IMPORTS
        if importer.startswith("udocker_batch") and _fits(imported, "udocker.*") and imported != "udocker.api"
    ]
    assert direct == []


def test_runtime_does_not_know_batch() -> None:
    assert [
        pair for pair in IMPORTS if _fits(pair[0], "udocker.*") and _fits(pair[1], "udocker_batch.*")
    ] == []


def test_engines_do_not_know_each_other() -> None:
    def engine(name: str) -> str:
        parts = name.split(".")
        return parts[2] if parts[:2] == ["udocker", "engine"] and len(parts) > 2 else ""

    pairs = {(engine(importer), engine(imported)) for importer, imported in IMPORTS}
    known = {
        (importer, imported)
        for importer, imported in pairs
        if importer and imported and importer != imported and imported not in ENGINES_SHARE
    }
    assert {importer for importer, _ in known} <= {"select"}


def test_schedulers_do_not_know_each_other() -> None:
    schedulers = {pattern.removesuffix(".*") for pattern in LAYERS["back ends"] if "batch" in pattern}

    def scheduler(name: str) -> Optional[str]:
        return next((package for package in schedulers if _fits(name, f"{package}.*")), None)

    between = [
        f"{importer} imports {imported}"
        for importer, imported in IMPORTS
        if scheduler(importer) and scheduler(imported) and scheduler(importer) != scheduler(imported)
    ]
    assert between == []


def _prints(tree: ast.Module) -> Iterator[int]:
    """The lines that call print or write to sys.stdout; a flush before an exec writes nothing new."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno
        if isinstance(node, ast.Attribute) and ast.unparse(node) in WRITES:
            yield node.lineno


def test_only_commands_print() -> None:
    printing = [
        f"{module.path.relative_to(ROOT)}:{line}"
        for module in MODULES.values()
        if not any(_fits(module.name, pattern) for pattern in COMMANDS)
        for line in _prints(module.tree)
    ]
    assert printing == []


def test_functions_fit_a_screen() -> None:
    long = [
        f"{module.path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or node.lineno) - node.lineno + 1 > LINES_OF_A_FUNCTION
    ]
    assert long == []


def _source_files() -> Iterator[Path]:
    yield from (ROOT / name for name in ("setup.py", "Makefile", ".ci/run") if (ROOT / name).exists())
    for folder in ("udocker", "batch", "templates", "tests", "demo", "bench"):
        for path in sorted((ROOT / folder).rglob("*")):
            built = {"__pycache__", "bin"} & set(path.relative_to(ROOT).parts)
            if path.is_file() and not built and path.suffix in ("", ".py", ".c", ".h", ".sh", ".bash"):
                yield path


def test_files_hold_one_idea() -> None:
    lengths = {path: len(path.read_bytes().splitlines()) for path in _source_files()}
    long = [f"{path.relative_to(ROOT)}: {n}" for path, n in lengths.items() if n > LINES_OF_A_FILE]
    assert long == []
