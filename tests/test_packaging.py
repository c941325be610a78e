"""A person who only wants a faster AST installs the core packages, and nothing of the harness."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HARNESS = ("pandas", "seaborn", "pydantic", "pytest-benchmark", "jinja2", "plotly", "torch-tb-profiler", "tensorboard")

CORE = """
import contextlib, io, json, torch, fastast
from fastast.cli import app
def said(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        app(list(arguments))
    return json.loads(out.getvalue())
model = fastast.create_model("ast_tiny", depth=2, num_frames=96).eval()
engine = fastast.compile(model, fastast.TokenReduction(schedule=fastast.Constant(4)), device="cpu")
shape = list(engine(torch.randn(1, 96, 128)).shape)
heard = said("predict", "fastast/assets/examples/bird_and_water.ogg", "--json")
small = ("-ssteps=2", "-sdata.train_clips=16", "-sdata.val_clips=16", "-sdata.test_clips=40", "-srun.workers=0")
trained = said("train", "smoke", "--out", {out!r}, *small)
print(json.dumps([shape, heard["labels"][0]["label"], trained["steps"]]))
"""
"""Compile, predict and train in one process: to start three would take longer than all that they do."""


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def needed(requirements: list[str]) -> set[str]:
    """The distributions that pip would install for these requirements, without their extras."""
    found: set[str] = set()
    left = names(requirements)
    while left:
        name = left.pop()
        found.add(name)
        try:
            wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another platform
            continue
        left |= names([requirement for requirement in wanted if "extra ==" not in requirement]) - found
    return found


@pytest.fixture(scope="module")
def hidden() -> str:
    """What is installed here and not by `pip install fastast`, as names to import."""
    core = needed(PROJECT["dependencies"])
    modules = importlib.metadata.packages_distributions()
    found = {
        module
        for module, distributions in modules.items()
        if not {name.lower().replace("_", "-") for name in distributions} & (core | {"fastast"})
        and not module.startswith(("nvidia", "cuda"))  # torch takes them as extras of another package
    }
    return ",".join(sorted(found))


def without(hidden: str, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tests/without_packages.py"), hidden, module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_harness_is_no_part_of_the_core() -> None:
    """Nor do the core packages take any of it; jinja2 is torch's too."""
    assert not needed(PROJECT["dependencies"]) & set(HARNESS) - {"jinja2"}
    assert names(PROJECT["optional-dependencies"]["bench"]) == set(HARNESS)


@pytest.mark.slow
def test_compiling_predicting_and_training_take_the_core_only(hidden: str, tmp_path: Path) -> None:
    done = without(hidden, "timeit", "-n1", "-r1", CORE.format(out=str(tmp_path / "run")))
    assert done.returncode == 0, done.stderr[-2000:]
    shape, heard, steps = json.loads(done.stdout.splitlines()[0])
    assert (shape, steps) == ([1, 527], 2)
    assert heard in {"Animal", "Bird song", "Water"}  # as the file is called
    assert "TensorBoard is not installed (pip install tensorboard)" in done.stderr


def test_the_harness_names_its_extra_where_it_is_missing(hidden: str) -> None:
    done = without(hidden, "bench", "status", "smoke")
    assert done.returncode == 1
    assert "pip install -e '.[bench]'" in done.stderr
    assert "Traceback" not in done.stderr
