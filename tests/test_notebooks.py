"""Notebooks are valid, are committed without outputs, and run from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def test_the_notebook_is_there_and_pages_lead_to_it() -> None:
    assert [path.name for path in NOTEBOOKS] == ["fastast_in_ten_minutes.ipynb"]
    for page in ("README.md", "docs/start.md"):
        assert "examples/fastast_in_ten_minutes.ipynb" in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_valid_and_holds_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_pages_that_a_notebook_names_are_there(path: Path) -> None:
    named = re.findall(r"`(docs/\w+\.md)`", path.read_text(encoding="utf-8"))
    assert len(named) > 2
    assert [page for page in named if not (ROOT / page).is_file()] == []


@pytest.mark.slow
@pytest.mark.alone  # it times what it runs
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the folder where it lies, as a reader opens it; what it writes goes to a temporary folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=600, startup_timeout=300, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"image/png", "text/html", "text/markdown"} <= kinds  # figures, the player, the table
    said = "".join(output.get("text", "") for output in outputs)
    assert re.search("unmerged: .*Bird song", said)
    assert "(562, 522, 482" in said  # 602 tokens, 40 fewer a block
    assert re.search("ONNX Runtime, r = 40: .*Bird song", said)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
