"""Which package may import which, and what a command may cost before it does anything."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIGHT = ("pydantic", "pandas", "seaborn", "sklearn", "bench")


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
    if path.name != "cli.py":
        assert "typer" not in imports(path)


@pytest.mark.parametrize("arguments", [["fastast.cli", "--help"], ["fastast.cli", "predict", "--help"]])
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
