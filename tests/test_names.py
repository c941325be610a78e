"""One name means one thing in both packages."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def public_names(path: Path) -> Iterator[tuple[str, str]]:
    """Yield every public class, function and type alias at the top of a file, with what would make another the same."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # A command is called as people type it, and `main` as everybody calls it.
            decorated = any(".command" in ast.unparse(d) or ".callback" in ast.unparse(d) for d in node.decorator_list)
            command = decorated or (path.parent.name == "commands" and isinstance(node, ast.FunctionDef))
            if not node.name.startswith("_") and node.name != "main" and not command:
                yield node.name, f"{path.relative_to(ROOT)}:{node.lineno}"
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                name = ast.unparse(target)
                if name.isidentifier() and name[0].isupper() and not name.isupper():
                    yield name, ast.unparse(node.value)  # an alias may be spelt out twice, not differently


def test_no_two_public_classes_or_functions_have_one_name() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for package in ("fastast", "bench"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if not any(part.startswith("_") and not part.startswith("__") for part in path.relative_to(ROOT).parts):
                for name, what in public_names(path):
                    found[name].add(what)
    assert len(found) > 500
    twice = {name: sorted(where) for name, where in found.items() if len(where) > 1}
    assert not twice, "\n".join(f"{name}: {', '.join(where)}" for name, where in sorted(twice.items()))
