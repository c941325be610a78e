"""Which package may import which, and what a command may cost before it does anything."""

from __future__ import annotations

import ast
import graphlib
import itertools
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIGHT = ("pydantic", "pandas", "seaborn", "bench")


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "fastast").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_model_package_needs_no_harness(path: Path) -> None:
    assert imports(path).isdisjoint(LIGHT)
    if path.name != "viz.py":
        assert "matplotlib" not in imports(path)
    if path.name != "metrics.py":
        assert "sklearn" not in imports(path)
    if path.name != "cli.py" and path.parent.name != "commands":
        assert "typer" not in imports(path)


def rooms(package: Path) -> dict[str, dict[str, str]]:
    """Every room (folder, or file beside the folders) of a package, with the rooms it imports and an example of each.

    Imports anywhere in a file count: late ones and those for types only too.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        if parts == ("__init__",):  # the lazy names of the package reach into every room
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for module in modules:
                outer, _, inner = module.partition(".")
                room = inner.partition(".")[0]
                there = (package / room).is_dir() or (package / f"{room}.py").exists()
                if outer == package.name and room and there and room != parts[0]:
                    found[parts[0]].setdefault(room, f"{path.relative_to(package.parent)}:{node.lineno}")
    return found


@pytest.mark.parametrize("package", ["fastast", "bench"])
def test_rooms_import_each_other_in_one_direction(package: str) -> None:
    found = rooms(ROOT / package)
    assert len(found) > 5
    try:
        graphlib.TopologicalSorter(found).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1][::-1]  # every room imports the next one
        steps = [f"{a} -> {b} ({found[a][b]})" for a, b in itertools.pairwise(circle)]
        pytest.fail("rooms import each other in a circle: " + ", ".join(steps))


def test_files_of_a_room_import_each_other_in_one_direction() -> None:
    """As of rooms, and late imports and those for types count too; the packages' lazy names do not."""
    files = {_module(path): path for package in ("fastast", "bench") for path in (ROOT / package).rglob("*.py")}
    del files["fastast"], files["bench"]
    found: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for module in _imported(path):
            while module and module not in files:  # a name in a module, in a package
                module = module.rpartition(".")[0]
            if module and module != name:
                found[name].add(module)
    assert "fastast.hosts.host" in found["fastast.hosts.check"]
    try:
        graphlib.TopologicalSorter(found).prepare()
    except graphlib.CycleError as error:
        pytest.fail("files import each other in a circle: " + " -> ".join(error.args[1][::-1]))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path) -> list[str]:
    """Every module or name that a file imports anywhere, dotted from its package on."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_training_knows_distillation_and_never_the_reverse() -> None:
    found = rooms(ROOT / "fastast")
    assert "distill" in found["training"]
    assert "training" not in found["distill"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["fastast.cli", "--help"],
        ["fastast.cli", "predict", "--help"],
        ["fastast.cli", "export", "--help"],
        ["bench", "--help"],
        ["bench", "run", "--help"],
    ],
)
def test_help_does_not_import_torch(arguments: list[str]) -> None:
    code = (
        f"import sys, runpy; sys.argv = {arguments!r}\n"
        f"try: runpy.run_module({arguments[0]!r}, run_name='__main__')\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "heavy = {'torch', 'timm', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_import_is_free() -> None:
    code = "import sys, fastast; assert not {'torch', 'numpy', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    done = subprocess.run(
        [sys.executable, "-c", "import fastast; fastast.no_such_name"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "module 'fastast' has no attribute 'no_such_name'" in done.stderr
