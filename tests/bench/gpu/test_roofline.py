"""Work and floors against numbers counted by hand, and the tables of the page against what they are made of."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from bench.gpu import work
from bench.gpu.compiled import COMPILED, compiled_facts
from bench.gpu.parts import forward_parts
from bench.gpu.peaks import H100_SXM, H200_SXM, peaks_of
from bench.gpu.roofline import (
    PAGE,
    binding,
    floor_table,
    instructions_text,
    kernel_floors,
    with_tables,
)
from bench.gpu.work import Work
from fastast.commands.describe import model_geometry
from fastast.macs import model_macs

BASE = model_geometry("ast_base")


def test_the_peaks_are_those_of_the_data_sheet() -> None:
    # 132 multiprocessors at 1.83 GHz: 4,096 operations a clock on the matrix units, 16 and 128 results on the others.
    assert H100_SXM.matrix == pytest.approx(132 * 4096 * 1.83e9, rel=1e-4)
    assert H100_SXM.exponentials == pytest.approx(3.865e12, rel=1e-3)
    assert H100_SXM.other == pytest.approx(30.92e12, rel=1e-3)
    assert H200_SXM.bytes / H100_SXM.bytes == pytest.approx(4.8 / 3.35)


@pytest.mark.parametrize(
    ("name", "peaks"),
    [
        ("NVIDIA H100 80GB HBM3", H100_SXM),
        ("NVIDIA H200", H200_SXM),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA A100-SXM4-80GB", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
    ],
)
def test_peaks_are_known_of_cards_that_were_looked_up(name: str, peaks: object) -> None:
    assert peaks_of(name) is peaks


def test_attention_by_hand() -> None:
    done = work.attention(64, 1214, 12, 64, sized=True)
    assert done.exponentials == 1_131_875_328  # 64 clips x 12 heads x 1214 x 1214 scores
    assert done.matrix == 289_760_083_968  # two products of 64 multiply-adds a score
    assert done.other == 5_093_438_976  # 4.5 a score
    assert done.bytes == 477_364_224 + 310_784  # 64 x 1214 tokens x 4 x 768 numbers x 2 bytes; 4 bytes a size
    times = {unit: seconds * 1e6 for unit, seconds in done.seconds(H100_SXM).items()}
    assert times == pytest.approx({"bytes": 142.6, "matrix": 292.9, "exponentials": 292.9, "other": 164.7}, abs=0.1)
    assert done.floor(H100_SXM) * 1e6 == pytest.approx(292.9, abs=0.1)
    assert done.limit(H100_SXM) == "matrix"


def test_the_other_kernels_by_hand() -> None:
    rows = 64 * 1214
    assert work.product(rows, 768, 2304) == Work(bytes=480_907_776, matrix=274_961_793_024, other=rows * 2304)
    gelu = work.linear_gelu_work(rows, 768, 3072)
    assert (gelu.matrix, gelu.exponentials) == (366_615_724_032, 238_682_112)
    assert gelu.floor(H100_SXM) * 1e6 == pytest.approx(370.5, abs=0.1)
    norm = work.add_norm_work(rows, 768)
    assert norm.bytes == 477_367_296  # four rows of 768 a token, and weight and bias
    assert (norm.limit(H100_SXM), norm.floor(H100_SXM) * 1e6) == ("bytes", pytest.approx(142.5, abs=0.1))
    # Merging 40 of 1,214 tokens moves less than not merging: tokens twice, slots twice, lists and sizes of 4 bytes.
    merged = work.merge_norm_work(64, 1214, 1174, 768, sized=False)
    assert merged.bytes == 470_415_104 < norm.bytes
    pairs = work.best_partner_work(64, 1214, 64)
    assert pairs.other == 1_579_909_312  # 64 clips x 607 x 607 pairs x (64 + 3)
    assert (pairs.limit(H100_SXM), pairs.floor(H100_SXM) * 1e6) == ("other", pytest.approx(51.1, abs=0.1))
    assert work.key_metric_work(64, 1214, 12, 64).bytes == 64 * 1214 * (768 * 2 + 64 * 4)
    assert work.rank_pairs(1, 1214) == Work(bytes=2 * 607 * 4, other=6 * 607 * 607)
    assert work.write_plan(1, 1214, 40).bytes == (2 * 607 + 1174 + 1175 + 40) * 4
    patches = work.patch_tokens_work(64, 1214, 2, 768, frames=1024, mel_bins=128, side=16)
    assert patches.matrix == 2 * 64 * 1212 * 256 * 768


def test_work_adds_up_and_the_slowest_unit_binds() -> None:
    one = Work(bytes=1, matrix=2, exponentials=3, other=4)
    assert one + one == one * 2 == Work(bytes=2, matrix=4, exponentials=6, other=8)
    for field in dataclasses.fields(Work):
        assert Work(**{field.name: 1}).limit(H100_SXM) == field.name


@pytest.mark.parametrize("r", [0, 40, 80])
def test_the_products_of_a_forward_are_those_that_the_model_counts(r: int) -> None:
    """Against `model_macs`, of the model's own blocks: all but the last, of which the engine computes two tokens."""
    parts = forward_parts(BASE, (r,) * 12, 3)
    left = [1214 - r * (i + 1) for i in range(12)]
    last_in, last_out = left[10], left[11]
    d, o = 768, 3072
    whole_last = last_in * 4 * d * d + 2 * last_in**2 * d + last_out * 2 * d * o
    head = d * BASE.num_classes
    counted = sum(
        part.work.matrix // 2 for part in parts if part.stage not in ("head's tokens", "key metric", "best partner")
    )
    tokens_2 = 2 * 2 * d * o  # the MLP of the two tokens that the head reads
    assert counted == 3 * (model_macs(BASE, left) - head - whole_last + tokens_2)


def test_a_merged_forward_launches_what_its_blocks_need() -> None:
    calls = {(part.stage, part.kernel): part.calls for part in forward_parts(BASE, (40,) * 12, 1)}
    merging = ("key_metric_forward", "best_partner_forward", "rank_pairs", "write_plan", "merge_norm_forward")
    assert {kernel: count for (_, kernel), count in calls.items() if kernel in merging} == dict.fromkeys(merging, 11)
    assert calls["add + norm", "add_norm_forward"] == 11 + 2  # behind the MLP of 11 blocks, and twice in the last
    unmerged = {part.kernel: part.calls for part in forward_parts(BASE, (0,) * 12, 1)}
    assert not set(merging) & set(unmerged)
    assert unmerged["add_norm_forward"] == 24


def test_sizes_are_read_where_tokens_have_some() -> None:
    def bytes_of(*removals: int, proportional: bool = True) -> int:
        parts = forward_parts(BASE, removals, 1, proportional=proportional)
        return next(part.work.bytes for part in parts if part.kernel == "attention_forward")

    plain = work.attention(1, 1214, 12, 64, sized=False).bytes + work.attention(1, 1204, 12, 64, sized=False).bytes
    assert bytes_of(10, 0, 0) == plain + 1204 * 4
    assert bytes_of(10, 0, 0, proportional=False) == plain


def test_floors_are_sums_over_the_launches_of_a_name() -> None:
    parts = forward_parts(BASE, (40,) * 12, 64)
    stages, kernels = kernel_floors(parts, H100_SXM)
    assert stages["merge plan"] == pytest.approx(kernels["rank_pairs"] + kernels["write_plan"])
    assert stages["weighted attention"] == kernels["attention_forward"]
    assert "" not in kernels
    attention = next(part for part in parts if part.kernel == "attention_forward")
    assert binding(attention, H100_SXM) in ("matrix, exponentials", "exponentials, matrix")


def test_the_page_has_the_tables_of_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "run python -m bench.gpu.roofline"
    with pytest.raises(ValueError, match="the tables must appear once"):
        with_tables("# Kernels")
    for batch in (64, 1):
        assert floor_table(batch) in page


def test_every_kernel_of_a_forward_is_among_those_compiled() -> None:
    facts = json.loads(COMPILED.read_text(encoding="utf-8"))
    named = {part.kernel for part in forward_parts(BASE, (40,) * 12, 1)} - {""}
    for batch in (64, 1):
        assert {one["kernel"] for one in facts["kernels"] if one["batch"] == batch} == named


def test_instructions_are_counted_per_item_of_work() -> None:
    one = {
        "kernel": "attention_forward",
        "options": {"BM": 128, "BN": 64, "num_warps": 4, "E": 64},
        "loop_instructions": 640,
        "instructions": 1000,
    }
    assert instructions_text(one) == "10.0 per score, in the loop"  # 640 x 128 threads / 8192 scores
    norm = {
        "kernel": "add_norm_forward",
        "options": {"D": 768, "num_warps": 4},
        "loop_instructions": 0,
        "instructions": 60,
    }
    assert instructions_text(norm).startswith("10.0 per number of a row")


@pytest.mark.slow
def test_what_the_kernels_compile_to_is_what_the_page_says() -> None:
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    kept = json.loads(COMPILED.read_text(encoding="utf-8"))
    if kept["triton"] != triton.__version__:
        pytest.skip(f"the page is of Triton {kept['triton']}, and this is {triton.__version__}")
    ahead = ["-m", "tests.fastast.kernels.ahead_of_time", "tests/fastast/kernels/roofline_cases.py", "count"]
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, *ahead], cwd=PAGE.parents[1], env=environment, capture_output=True, text=True, check=True
    )
    now = compiled_facts(done.stdout, triton.__version__)
    assert now == kept, "compile them anew: see tests/fastast/kernels/roofline_cases.py"
