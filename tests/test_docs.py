"""What the documents say exists, does, and what they say to type, works.

A `console` block is run as it stands: here, or by what `RUN_BY` and `CI_RUNS` name. An `sh` block is not run, and the
line above it says why: `<!-- not run: REASON -->`. A `python` block is run unless that line is there. A `latex` block
is compiled by `bench/report/tables/test_latex.py`. What is not run must exist all the same, with its options.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import bench.cli
import fastast
import fastast.cli
from bench.records.columns import COLUMNS
from bench.records.schema import Record
from bench.study import frame
from bench.study.figures import families, progress

ROOT = Path(__file__).parents[1]
DIRECTIVES = {"index.md", "api.md"}
"""Pages of Sphinx's directives, which `nox -s docs` builds without a warning."""
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(path for path in PAGES if path.name not in DIRECTIVES)]
APPS = {"fastast": fastast.cli.app, "bench": bench.cli.app}

RUN_BY = {
    "docs/add_a_data_set.md": "tests/test_how_to.py",
    "docs/add_a_host.md": "tests/fastast/hosts/test_add_a_host_page.py",
    "docs/add_a_method.md": "tests/test_how_to.py",
    "docs/distillation.md": "tests/fastast/distill/test_distillation_page.py",
    "docs/gpu.md": "tests/bench/gpu/test_gpu_session.py",
}
"""Pages whose blocks another test runs."""

CI_RUNS = {
    "python3 -m venv .venv && .venv/bin/pip install -q nox && .venv/bin/nox -s tests",
    "python -m pytest tests/fastast/kernels",
    "TRITON_INTERPRET=1 python -m pytest tests/fastast/kernels",
    "python -m pytest tests/fastast/kernels/test_merging_chain.py",
}
"""The tests as a whole, and parts of them: without a GPU, the kernels' run in the interpreter unasked."""

SLOW = {
    "fastast train smoke",
    "fastast tune ast_tiny_soundscapes --data soundscapes_tiny --speedup 1.3 --clips 40 --batch-size 2 "
    "--min-positives 0 --evaluations 5 --rounds 5 -s data.val_clips=40 -s run.workers=0",
    "python -m bench profile smoke --r 40 --schedule constant",
    "python -m bench report default",
    "python -m bench page",
    "python -m bench render",
    "python -m bench study report soundscapes_continue --out reports",
    "python -m tests.fastast.kernels.ahead_of_time tests/fastast/kernels/test_compiles_for_gpus.py count",
    "python -m tests.fastast.kernels.ahead_of_time tests/fastast/kernels/test_merging_compiles_for_gpus.py",
}
"""Commands that take a processor more than about five seconds."""

FENCE = re.compile(r"(?:^<!-- not run: (?P<reason>.+) -->\n)?^```(?P<language>\w*)\n(?P<text>(?:.*\n)*?)```$", re.M)


@dataclass(frozen=True, kw_only=True)
class Block:
    page: str
    """Path of its document below the root."""
    language: str
    """What stands behind the opening fence."""
    text: str
    """What stands between the fences."""
    reason: str | None
    """Why it is not run; None where nothing is said."""

    def __str__(self) -> str:
        return f"{self.page}: {self.text.splitlines()[0]}"

    @property
    def commands(self) -> list[str]:
        """The lines, without comments."""
        return [re.sub(r"(^|\s+)#.*", "", line).strip() for line in self.text.splitlines()]

    @property
    def is_run_elsewhere(self) -> bool:
        return self.page in RUN_BY or bool(CI_RUNS & set(self.commands))


def blocks_of(path: Path) -> list[Block]:
    page = path.relative_to(ROOT).as_posix()
    return [Block(page=page, **found.groupdict()) for found in FENCE.finditer(path.read_text(encoding="utf-8"))]


BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]
RUN = [block for block in BLOCKS if block.language == "console" and not block.is_run_elsewhere]
RUN = [
    block for i, block in enumerate(RUN) if not any(set(block.commands) <= set(before.commands) for before in RUN[:i])
]
"""Without those that say again what a block before them says."""
QUICK = [block for block in RUN if not SLOW & set(block.commands)]
NOT_RUN = sorted({command for block in BLOCKS if block.language == "sh" for command in block.commands})


def test_every_page_is_in_the_contents_and_every_public_name_in_the_reference() -> None:
    contents = (ROOT / "docs/index.md").read_text(encoding="utf-8").splitlines()
    assert {path.stem for path in PAGES} - {"index"} <= set(contents)
    reference = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    names = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)", reference, re.M))
    assert {name for name in names if "." not in name} == set(fastast.__all__) - {"__version__"}
    for block in (block for block in BLOCKS if block.language == "python"):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "fastast":
                asked = {f"{node.module}.{name.name}" for name in node.names if name.name not in names}
                assert asked <= names, f"{block.page} imports what docs/api.md does not have"


def test_every_column_and_every_part_of_a_record_is_documented() -> None:
    text = (ROOT / "docs/records.md").read_text(encoding="utf-8")
    for name, meaning in COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in text
    for name in Record.model_fields:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("path", sorted((ROOT / "reports").glob("*/table.csv")), ids=lambda path: path.parent.name)
def test_every_column_of_a_published_table_is_documented(path: Path) -> None:
    header = path.read_text(encoding="utf-8").partition("\n")[0].split(",")
    page = ROOT / "docs" / ("study_files.md" if "arm" in header else "records.md")
    told = set(re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(header) - told == set()


def test_every_column_of_a_study_is_documented() -> None:
    text = (ROOT / "docs/study_files.md").read_text(encoding="utf-8")
    for name, meaning in frame.COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in text
    for name in (*families.COLUMNS, *progress.COLUMNS):
        assert f"`{name}`" in text.partition("## The CSV files")[2], name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_block_runs_or_says_why_not(path: Path) -> None:
    text, blocks = path.read_text(encoding="utf-8"), blocks_of(path)
    assert len(re.findall(r"```|~~~", text)) == 2 * len(blocks), "a fence that this test does not read"
    assert text.count("<!-- not run") == sum(block.reason is not None for block in blocks), "a reason without a block"
    assert {block.language for block in blocks} <= {"console", "sh", "python", "toml", "text", "latex"}
    for block in blocks:
        allowed = {"sh": (True,), "python": (True, False)}.get(block.language, (False,))
        assert (block.reason is not None) in allowed, block


def test_what_other_tests_run_is_there() -> None:
    for page, test in RUN_BY.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")
    commands = {command for block in BLOCKS if block.language == "console" for command in block.commands}
    assert commands >= CI_RUNS | SLOW
    job = (ROOT / ".ci/run").read_text(encoding="utf-8")
    for command in CI_RUNS:
        before, pytest_, folder = command.partition(" -m pytest ")
        assert (ROOT / folder).exists() if pytest_ else before in job, command


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: Block) -> Path:
    """A reader's checkout; for the harness with records of their own, of before and after a change, and of others."""
    for name in ("bench", "fastast", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    if "bench" in block.text:
        add_records(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in {"python": "", "fastast": "-m fastast.cli"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def add_records(tmp_path: Path) -> None:
    """Copy the results to where pages say that a reader's are, and all that commands write to."""
    for copy in ("results", "build/results", "build/results-before", "laptop/results", "server/results"):
        shutil.copytree(ROOT / "results", tmp_path / copy)
    for machine in (tmp_path / "build/results").glob("*-threads"):  # a reader has one machine
        if not (machine / "default").is_dir():
            shutil.rmtree(machine)
    (tmp_path / "build/results-after").symlink_to("results-before")
    for written in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / written, tmp_path)
    for written in ("docs", "reports"):  # by `render` and `claims`
        shutil.copytree(ROOT / written, tmp_path / written)


def bash(script: str) -> None:
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def parts(command: str) -> tuple[str, list[str]] | None:
    """Return the app that a command starts and its arguments, or None for another program's."""
    found = re.search(r"(?:^|-m )(fastast|bench)(?:\.cli)? (.*)", re.sub(r"\$\w+", "1", command))
    return None if found is None else (found[1], shlex.split(found[2]))


@pytest.mark.parametrize("block", QUICK, ids=str)
def test_commands_run(block: Block, checkout: Path) -> None:
    for command in block.commands:
        piped, _, last = command.rpartition(" | ")
        found = None if "$" in command else parts(last)
        if found is None or (piped and not piped.startswith("cat ")):
            bash(command)
        else:  # in this process, which has imported everything
            given = Path(piped.removeprefix("cat ")).read_bytes() if piped else None
            result = CliRunner().invoke(APPS[found[0]], found[1], input=given)
            assert result.exit_code == 0, f"{command}: {result.output} {result.exception!r}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", [block for block in RUN if block not in QUICK], ids=str)
def test_slow_commands_run(block: Block, checkout: Path) -> None:
    bash(block.text)


@pytest.mark.parametrize("command", NOT_RUN)
def test_commands_that_are_not_run_exist_with_their_options(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = parts(command)
    if found is None:
        exists(command)
        return
    app, arguments = found
    preview = {"run": "--dry-run", "train": "--check"}.get(arguments[0])
    if preview is None:
        parse(app, arguments)
        return
    if "--launcher" in arguments:  # has a cluster's devices, and asks the cluster for them
        somewhere = nullcontext(SimpleNamespace(resolve=lambda device: device))
        monkeypatch.setattr("bench.run.launchers.choose.choose_launcher", lambda *names, **options: somewhere)
    result = CliRunner().invoke(APPS[app], [*arguments, preview])
    assert result.exit_code == 0, f"{result.output} {result.exception!r}"


def parse(app: str, arguments: list[str]) -> None:
    """Let the command read its arguments, and do nothing; it raises where it does not know one."""
    command: Any = get_command(APPS[app])
    while hasattr(command, "commands"):
        command = command.commands[arguments[0]]
        arguments = arguments[1:]
    command.make_context(command.name, list(arguments))


def exists(command: str) -> None:
    """Check that a command of another program names sessions, modules, files and extras that there are."""
    words = shlex.split(command)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if words[0] in ("for", "done", "ray", "cpupower", "echo"):
        return
    if "nox" in command:
        assert f"\ndef {words[words.index('-s') + 1]}(session" in (ROOT / "noxfile.py").read_text(encoding="utf-8")
    elif words[:2] == ["pip", "install"]:
        named = re.fullmatch(r"(?:fastast|\.)(?:\[([\w,]+)\])?", words[-1])
        assert named is not None, command
        assert set((named[1] or "bench").split(",")) <= set(project["optional-dependencies"])
    else:
        assert words[:2] == ["python", "-m"], f"{command}: this test knows no such program"
        assert importlib.util.find_spec(words[2]) is not None
        assert words[2] != "pytest" or (ROOT / words[3]).exists()


def python_blocks(reason: bool) -> list[Block]:
    found = [block for block in BLOCKS if block.language == "python" and block.page not in RUN_BY]
    return [block for block in found if (block.reason is not None) == reason]


def test_python_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    for block in python_blocks(reason=False):
        exec(compile(block.text, block.page, "exec"), {})
    assert "(562, 522, 482" in capsys.readouterr().out  # 602 tokens, 40 fewer a block


@pytest.mark.parametrize("block", python_blocks(reason=True), ids=str)
def test_python_that_is_not_run_imports_names_that_there_are(block: Block) -> None:
    if "from transformers" in block.text:
        pytest.importorskip("transformers", reason="transformers is an extra")
    lines = [node for node in ast.parse(block.text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names: dict[str, Any] = {}
    exec(compile(ast.Module(body=lines, type_ignores=[]), block.page, "exec"), names)
    attributes = re.findall(r"\bfastast\.(\w+)", block.text) if "fastast" in names else []
    assert [name for name in attributes if not hasattr(names["fastast"], name)] == []
