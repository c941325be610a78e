"""The promises of SECURITY.md: each names a test that there is, and those that nothing else holds are held here."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

from bench.records.gather import GatherError, gather_results
from bench.records.store import read_record
from bench.report import render

ROOT = Path(__file__).parents[1]
MARKUP = "<script>alert(1)</script>"


def committed(kind: str) -> Path:
    """A record in the tree with a measurement of a kind."""
    return next(
        path for path in sorted((ROOT / "results").glob("*/default/*.json")) if getattr(read_record(path), kind)
    )


def test_every_promise_names_a_test_that_there_is():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) >= 8
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/elsewhere", "a/b", ".."])
@pytest.mark.parametrize("place", ["machine", "sweep"])
def test_a_record_cannot_name_a_folder_elsewhere(tmp_path, name, place):
    source = tmp_path / "theirs" / "laptop" / "default"
    source.mkdir(parents=True)
    path = committed("performance")
    raw = json.loads(path.read_text())
    if place == "machine":
        raw["machine"]["key"] = name
    else:
        raw["sweep"] = name
    (source / path.name).write_text(json.dumps(raw))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(GatherError, match="cannot be the name of a folder"):
        gather_results([tmp_path / "theirs"], tmp_path / "ours")
    assert sorted(tmp_path.rglob("*")) == before


def test_names_with_markup_are_text_in_a_report(tmp_path):
    results = tmp_path / "results"
    for folder in (ROOT / "results").glob("cpu-*/soundscapes_continue_speed"):
        shutil.copytree(folder, results / folder.parent.name / folder.name)
    for path in results.rglob("*.json"):
        raw = json.loads(path.read_text())
        raw["machine"]["device_name"] = raw["model"]["name"] = MARKUP
        path.write_text(json.dumps(raw))
    written = render(results, tmp_path / "reports", sweep="soundscapes_continue_speed", formats=("svg",))
    pages = [path for path in written if path.suffix in (".html", ".svg")]
    assert pages
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert "<script>alert" not in text, path.name
    assert any("&lt;script&gt;alert" in path.read_text(encoding="utf-8") for path in pages)


def test_names_with_markup_are_text_in_tables_and_control_characters_are_none(tmp_path):
    results, name = tmp_path / "results", "a|b \\input{/etc/passwd} ~^ \u202egnp.exe\x1b[2J <b>"
    for folder in (ROOT / "results").glob("cpu-*/soundscapes_continue_speed"):
        shutil.copytree(folder, results / folder.parent.name / folder.name)
    for path in results.rglob("*.json"):
        raw = json.loads(path.read_text())
        raw["machine"]["device_name"] = raw["model"]["name"] = name
        path.write_text(json.dumps(raw))
    folder = tmp_path / "reports" / "soundscapes_continue_speed"
    render(results, folder.parent, sweep=folder.name, formats=("svg",))
    texts = {path.suffix: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.suffix != ".csv"}
    for suffix, text in texts.items():
        assert not {"\u202e", "\x1b"} & set(text), suffix
    assert "a\\|b" in texts[".md"]
    assert "&lt;b&gt;" in texts[".md"]
    assert "<b>" not in texts[".md"]
    assert "\\input" not in texts[".tex"]
    assert "\\textbackslash{}input\\{/etc/passwd\\} \\textasciitilde{}\\textasciicircum{}" in texts[".tex"]
