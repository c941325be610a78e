"""What the documents say exists, does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.records.columns import COLUMNS
from bench.records.schema import Record

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_column_and_every_part_of_a_record_is_documented() -> None:
    text = (ROOT / "docs/records.md").read_text(encoding="utf-8")
    for name, meaning in COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in text
    for name in Record.model_fields:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def commands(program: str) -> list[str]:
    """Commands of that program in the documents' console blocks."""
    found = []
    for path in DOCUMENTS:
        for block in re.findall(r"```console\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            found += [line for line in block.splitlines() if line.startswith(program)]
    return sorted(set(found))


@pytest.mark.parametrize("command", commands("fastast "))
def test_commands_of_fastast_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastast.cli import app

    monkeypatch.chdir(ROOT)
    arguments = [str(tmp_path) if word == "pictures" else word for word in shlex.split(command)[1:]]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", commands("python -m bench "))
def test_commands_of_bench_exist_with_their_options(command: str) -> None:
    from bench.cli import app

    _, _, _, *words = shlex.split(command)
    name = words[:2] if words[0] == "study" else words[:1]
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    help_text = CliRunner().invoke(app, [*name, "--help"], env={"COLUMNS": "200"}).output
    assert "Usage" in help_text, name
    assert [option for option in options if option not in help_text] == []


def test_the_readmes_python_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    for path in (ROOT / "README.md", ROOT / "docs/merging.md"):
        for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            exec(compile(block, str(path), "exec"), {})
    assert "(562, 522, 482" in capsys.readouterr().out  # 602 tokens, 40 fewer a block


def test_ci_runs_the_readmes_test_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"```console\n(.*nox -s tests)\n```", readme)
    assert command in (ROOT / ".ci/run").read_text(encoding="utf-8")
