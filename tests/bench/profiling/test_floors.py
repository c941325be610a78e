"""A profile's rows of the GPU stand beside the least that they could take."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from bench.gpu.parts import KernelPart
from bench.gpu.peaks import H100_SXM
from bench.gpu.work import Work
from bench.profiling import floors
from bench.profiling.by_stage import KernelRow, StageRow
from bench.profiling.show import _kernel_table, _stage_table
from bench.profiling.tables import Profile
from fastast.commands.describe import model_geometry

PROFILE = Profile(
    arm="candidate",
    trace="",
    operators=(),
    blocks=(),
    summary=(),
    stages=(
        StageRow(device="cpu", stage="qkv", calls=11, ms=9.0, share=0.5),
        StageRow(device="cuda", stage="qkv", calls=11, ms=4.0, share=0.4),
        StageRow(device="cuda", stage="other", calls=0, ms=1.0, share=0.1),
    ),
    block_stages=(),
    kernels=(
        KernelRow(ran="graph", name="attention_forward", stages="", calls=11, ms=8.0, share=0.8),
        KernelRow(ran="graph", name="nvjet_tst_128x256", stages="", calls=11, ms=2.0, share=0.2),
    ),
)
PARTS = (
    KernelPart(stage="qkv", kernel="", calls=11, work=Work(matrix=989_400_000_000 * 2)),  # 2 ms
    KernelPart(
        stage="weighted attention", kernel="attention_forward", calls=11, work=Work(bytes=3_350_000_000 * 5)
    ),  # 5 ms
)


def shown(table: object) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue()


def test_rows_of_the_gpu_have_the_floor_of_their_name() -> None:
    made = floors.beside(PROFILE, PARTS, H100_SXM)
    assert [row.floor_ms for row in made.stages] == [None, pytest.approx(2.0), None]
    assert [row.floor_ms for row in made.kernels] == [pytest.approx(5.0), None]
    text = shown(_stage_table(made, "cuda"))
    assert "floor, ms  of floor" in text
    assert ["qkv", "11", "4.000", "40.0%", "2.000", "2.00"] in [line.split() for line in text.splitlines()]
    lines = [line.split() for line in shown(_kernel_table(made)).splitlines()]
    assert ["attention_forward", "11", "8.000", "80.0%", "5.000", "1.60"] in lines
    assert ["nvjet_tst_128x256", "11", "2.000", "20.0%"] in lines


def test_without_floors_the_tables_are_as_they_were() -> None:
    assert "floor" not in shown(_stage_table(PROFILE, "cuda"))
    assert "floor" not in shown(_kernel_table(PROFILE))


@pytest.mark.parametrize(
    ("changes", "name", "there"),
    [
        ({}, "NVIDIA H100 80GB HBM3", True),
        ({}, "NVIDIA H200", True),
        ({}, "NVIDIA A100-SXM4-80GB", False),
        ({"dtype": torch.float32}, "NVIDIA H100 80GB HBM3", False),
        ({"device": torch.device("cpu")}, "NVIDIA H100 80GB HBM3", False),
        ({"path": "plain"}, "NVIDIA H100 80GB HBM3", False),
    ],
)
def test_floors_are_for_what_was_counted(monkeypatch: pytest.MonkeyPatch, changes, name: str, there: bool) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: name)
    usual = {"path": "triton", "device": torch.device("cuda"), "dtype": torch.bfloat16, "reduction": None}
    made = floors.with_floors(PROFILE, SimpleNamespace(**usual | changes), model_geometry("ast_base"), 64)
    assert (made.kernels[0].floor_ms is not None) == there
