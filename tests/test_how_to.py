"""The how-to pages, done as they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.records.store import read_records
from fastast.reduction.choosing.matching import bipartite_soft_matching
from tests.fastast.kernels.interpreter import skip_without_interpreter

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def install(page: str, folder: Path) -> dict[str, str]:
    """Do what `pip install -e .` does with the page's package, without a network; return the environment."""
    (code,) = blocks(page, "python")
    project, sweep = blocks(page, "toml")
    assert len(code.splitlines()) < 40
    group, name, value = re.search(r'entry-points."(\S+)"\]\n(\w+) = "(\S+)"', project).groups()
    (folder / f"{name}.py").write_text(code)
    (folder / f"{name}.toml").write_text(sweep)
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}


def run(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_method_goes_from_its_page_to_a_figure(tmp_path: Path) -> None:
    environment = install("add_a_method.md", tmp_path)
    info, sweep = (command.split() for command in blocks("add_a_method.md", "console")[0].splitlines())
    assert info[0] == "fastast"
    assert "longest constant:40" in run(tmp_path, environment, "fastast.cli", *info[1:])
    run(tmp_path, environment, *sweep[2:], "--results", "results")
    records = read_records(tmp_path / "results")
    assert {record.status for record in records} <= {"ok", "noisy", "disturbed"}, [r.message for r in records]
    methods = [record.cell.question["reduction"] for record in records if record.cell.question["reduction"]]
    assert [(m["method"], m.get("of")) for m in methods].count(("longest", "branch")) == 2  # its speed, its quality
    assert [m["method"] for m in methods].count("tome") == 2  # the axis is none of ToMe's
    assert {gate.name for record in records for gate in record.gates if not gate.passed} == set()
    assert (tmp_path / "reports/longest/pareto.png").stat().st_size > 10_000
    assert "longest tokens, constant r" in (tmp_path / "reports/longest/table.md").read_text(encoding="utf-8")


ON_KERNELS = """
import torch, fastast
model = fastast.create_model("ast_tiny", depth=2, num_frames=96).eval()
fbank = torch.randn(1, 96, 128)
reduction = fastast.TokenReduction(schedule=fastast.Constant(4), method="longest", options={"of": "branch"})
engine = fastast.compile(model, reduction, device="cpu")
with torch.inference_mode(), fastast.reduce(model, reduction):
    torch.testing.assert_close(engine(fbank), model(fbank), rtol=1e-5, atol=1e-5)
print(engine.path)
"""


@pytest.mark.slow
def test_the_same_method_runs_on_the_kernels(tmp_path: Path) -> None:
    skip_without_interpreter()
    environment = install("add_a_method.md", tmp_path) | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ON_KERNELS], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "triton\n"), done.stderr


def test_the_products_of_pairing_are_those_that_the_page_counts() -> None:
    page = (ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")
    limit, macs = (eval(re.search(rf"`{name}=(lambda .*?)`[.:]", page).group(1)) for name in ("limit", "macs"))
    shape = SimpleNamespace(num_free=11, encoder=SimpleNamespace(head_dim=8))
    assert limit(shape, None) == 5
    with FlopCounterMode(display=False) as counted:
        bipartite_soft_matching(torch.randn(1, 2 + 11, 8), 3, num_protected=2)
    assert 2 * macs(shape, 3, None) == counted.get_total_flops() > 0


def test_a_data_set_goes_from_its_page_to_training_and_a_sweep(tmp_path: Path) -> None:
    page = "add_a_data_set.md"
    environment = install(page, tmp_path)
    (tmp_path / "clips").mkdir()
    for number in range(10):
        tone = np.sin(np.arange(16000) / 16000 * 2 * np.pi * (440 if number % 2 else 880))
        soundfile.write(tmp_path / "clips" / f"{'low' if number % 2 else 'high'}-{number}.wav", tone, 16000)
    (command,) = blocks(page, "console")[0].splitlines()
    checked = run(tmp_path, environment, "fastast.cli", *command.split()[1:])
    assert '"name": "named_clips"' in checked
    code = (
        "from fastast.data.datasets import DATASETS; from fastast.data.training_set import all_ids\n"
        "split = DATASETS.get('named_clips')(root='clips').split\n"
        "print(split('train').classes, all_ids(split('test')), len(split('train')))\n"
        "print(split('test').labels(0, 0), len(split('test').clip(0, 0)[0]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    # By hand: sorted, high-0 high-2 high-4 high-6 high-8 low-1 low-3 low-5 low-7 low-9; every fifth from the first.
    assert done.stdout.splitlines() == ["('high', 'low') ('high-0.wav', 'low-1.wav') 8", "[1. 0.] 16000"]
