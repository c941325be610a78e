"""Profiles of the engine: its stages and blocks eagerly, its kernels in a captured graph, and where it cannot run."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time
from collections import Counter

import pytest
import torch
from rich.console import Console

import fastast
import fastast.engine.forward
from bench.cell import baselines
from bench.profiling import engine_stages
from bench.profiling.by_stage import block_stage_rows, kernel_rows, stage_rows
from bench.profiling.capture import profile_cell
from bench.profiling.engine_capture import INTERPRETED, profile_engine
from bench.profiling.engine_stages import labelled_engine
from bench.profiling.files import write_tables
from bench.profiling.show import profile_cells
from bench.profiling.tables import block_rows, summary_rows
from bench.profiling.trace import attribute, read_events
from bench.run.isolation import Outcome
from bench.sweep.expansion import expand
from bench.sweep.file import SWEEPS, load_sweep
from fastast.engine import Engine
from fastast.engine.kernel_table import reference_kernels
from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import PerBlock

pytestmark = pytest.mark.slow

TINY = Geometry(embed_dim=32, depth=3, num_heads=2, num_classes=5, num_mel_bins=32, num_frames=96)
"""20 tokens, by hand: (32 - 16) // 10 + 1 = 2 rows, (96 - 16) // 10 + 1 = 9 columns, two prefix tokens."""
REMOVED = (4, 0, 3)
TOKENS = [(20, 16), (16, 16), (16, 13)]
SLEEP = 0.05
"""Seconds that a stage is made to take longer: more than all else together."""

OUTSIDE = {"patch tokens": 1, "first norm": 1, "head": 1}
"""The head is a norm and a product."""
ATTENTION = {"qkv": 1, "weighted attention": 1, "projection": 1}
MLP = {"mlp, first product": 1, "mlp, second product": 1}
MERGE = {"key metric": 1, "best partner": 1, "merge plan": 1, "merge + norm": 1}
HEADS = {"head's tokens": 1, "add + norm": 2, **MLP}
"""The last block where only the head's tokens are computed: nothing merges there, whatever the schedule says."""


SMALLEST = dataclasses.replace(TINY, depth=2, num_mel_bins=16, num_frames=46)
"""For the interpreter: 6 tokens, (46 - 16) // 10 + 1 = 4 patches in a row and two prefix tokens."""


def tiny_model(geometry: Geometry = TINY) -> AudioSpectrogramTransformer:
    torch.manual_seed(0)
    return AudioSpectrogramTransformer(geometry).eval()


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Of two, one waits for the other on a machine that does other things too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def engine_of(reduction, **slow) -> Engine:
    """An engine over stages in plain torch; `slow` names stages that sleep over so many tokens."""
    stages = reference_kernels()
    for name, tokens in slow.items():
        stages = dataclasses.replace(stages, **{name: slowed(getattr(stages, name), tokens)})
    return Engine(
        tiny_model(),
        reduction,
        dtype=torch.float32,
        device=torch.device("cpu"),
        batch_sizes=(),
        kernels=stages,
        why_plain="",
    )


def slowed(function, tokens):
    """Return `function`, which sleeps where its first argument has so many tokens."""

    def sleeps(x, *args, **options):
        time.sleep(SLEEP if x.shape[1] == tokens else 0)
        return function(x, *args, **options)

    return sleeps


def fbank(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 96, 32, generator=torch.Generator().manual_seed(1))


def merging(**options) -> TokenReduction:
    return TokenReduction(schedule=PerBlock(REMOVED), **options)


def calls(rows, device="cpu") -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}
    for row in rows:
        if row.device == device and row.stage != "other":
            found.setdefault(row.block, {})[row.stage] = row.calls
    return found


@pytest.mark.parametrize(
    ("reduction", "blocks"),
    [
        (merging(), [{**ATTENTION, **MERGE, **MLP, "add + norm": 1}, {**ATTENTION, **MLP, "add + norm": 2}, HEADS]),
        (None, [{**ATTENTION, **MLP, "add + norm": 2}] * 2 + [HEADS]),
        (
            baselines.slicing(PerBlock(REMOVED)),
            [
                {**ATTENTION, **MLP, "plan": 1, "merge + norm": 1, "add + norm": 1},
                {**ATTENTION, **MLP, "add + norm": 2},
                HEADS,
            ],
        ),
        (
            merging(num_protected=0),  # its last block may merge the head's tokens
            [
                {**ATTENTION, **MERGE, **MLP, "add + norm": 1},
                {**ATTENTION, **MLP, "add + norm": 2},
                {**ATTENTION, **MERGE, **MLP, "add + norm": 1},
            ],
        ),
    ],
    ids=["merged", "unmerged", "slice", "merged to the end"],
)
def test_every_stage_of_every_block_is_there(tmp_path, reduction, blocks):
    made = profile_engine("arm", engine_of(reduction), fbank(1), tmp_path, forwards=2, device="cpu")
    expected = {0: OUTSIDE} | dict(enumerate(blocks, 1))
    assert calls(made.block_stages) == expected
    totals = sum((Counter(stages) for stages in expected.values()), Counter())
    assert {row.stage: row.calls for row in made.stages if row.stage != "other"} == totals
    planned = TOKENS if reduction else [(20, 20)] * 3
    assert [(row.tokens_in, row.tokens_out) for row in made.blocks] == planned
    assert made.kernels == ()


def test_times_of_the_stages_add_up_to_the_forward(tmp_path):
    made = profile_engine("candidate", engine_of(merging()), fbank(), tmp_path, forwards=1, device="cpu")
    (summary,) = made.summary
    stages = {row.stage: row.ms for row in made.stages}
    assert min(stages.values()) >= 0
    assert 0 < sum(ms for stage, ms in stages.items() if stage != "other") <= summary.forward_ms
    assert sum(stages.values()) == pytest.approx(summary.forward_ms)
    assert sum(row.share for row in made.stages) == pytest.approx(1)
    for block in made.blocks:
        own = sum(row.ms for row in made.block_stages if row.block == block.block)
        assert 0 < own <= block.total_ms * (1 + 1e-9)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Forwards in which the first block's `best partner` sleeps, and the last one's first residual sum."""
    engine = engine_of(merging(), best_partner=20, add_norm=2)
    return profile_engine("candidate", engine, fbank(), tmp_path_factory.mktemp("slow"), forwards=3, device="cpu")


def test_a_slow_stage_is_seen_in_its_block_and_in_no_other_stage(slow):
    found = {(row.block, row.stage): row.ms for row in slow.block_stages}
    assert found[1, "best partner"] >= 1000 * SLEEP
    assert found[3, "add + norm"] >= 2 * 1000 * SLEEP  # in both residual sums the last block has the head's two tokens
    slept = {(1, "best partner"), (3, "add + norm")}
    assert max(ms for key, ms in found.items() if key not in slept) < 1000 * SLEEP
    first, second, last = slow.blocks
    assert first.plan_ms >= 1000 * SLEEP > first.merge_ms > 0
    assert second.plan_ms == second.merge_ms == last.plan_ms == last.merge_ms == 0
    assert last.other_ms >= 2 * 1000 * SLEEP > last.attention_ms
    (summary,) = slow.summary
    assert 0.1 < summary.plan_share < summary.merging_share < 0.5  # a third of what sleeps, and what else there is
    assert summary.ran == "triton"


def test_labels_change_no_output_and_leave_nothing_behind():
    engine, clips = engine_of(merging()), fbank()
    before, expected = dict(vars(engine)), engine(clips)
    with labelled_engine(engine):
        assert torch.equal(engine.eagerly(clips), expected)
        assert vars(engine) != before
    assert dict(vars(engine)) == before
    with pytest.raises(ValueError, match="filterbank"), labelled_engine(engine):
        engine.eagerly(clips[:, :5])
    with pytest.raises(ValueError, match="it must be"), labelled_engine(engine):
        engine.runner(clips[:, :50])  # which nobody looked at before
    assert dict(vars(engine)) == before
    assert torch.equal(engine(clips), expected)


def test_a_stage_that_escapes_its_label_is_no_zero(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_stages, "PARTS", tuple(part for part in engine_stages.PARTS if part != "merge + norm"))
    with pytest.raises(RuntimeError, match=r"block 1: no label merge \+ norm in the trace"):
        profile_engine("candidate", engine_of(merging()), fbank(), tmp_path, forwards=1, device="cpu")


# Traces of a GPU, by hand


def complete(name, category, start, end, *, thread=(1, 1), **args):
    """An event as the profiler writes it, times in microseconds."""
    pid, tid = thread
    event = {"ph": "X", "cat": category, "name": name, "pid": pid, "tid": tid, "ts": start, "dur": end - start}
    return event | {"args": args}


def kernel(name, start, end, correlation, category="kernel", **args):
    return complete(name, category, start, end, thread=(0, 7), device=0, stream=7, correlation=correlation, **args)


def read(tmp_path, events):
    path = tmp_path / "arm.1.pt.trace.json"
    head = {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "ts": 0, "args": {"name": "python"}}
    path.write_text(json.dumps({"schemaVersion": 1, "deviceProperties": [], "traceEvents": [head, *events]}))
    return attribute(read_events(path))


def label(name, start, end):
    """On the host; the profiler writes it again for the GPU, over the kernels."""
    return [
        complete(name, "user_annotation", start, end),
        complete(name, "gpu_user_annotation", start + 500, end + 500, thread=(0, 7)),
    ]


def test_kernels_of_the_eager_forward_belong_to_the_innermost_label(tmp_path):
    """Triton launches through the driver, libraries through the runtime; every kernel runs after its label."""
    events = [
        *label("ProfilerStep#3", 0, 400),
        *label("forward", 1, 399),
        *label("patch tokens", 2, 10),
        *label("block 1", 20, 190),
        *label("block 1 weighted attention", 25, 40),
        *label("block 1 merge plan", 50, 70),
        *label("block 1 merge + norm", 80, 90),
        *label("block 2", 200, 390),
        *label("block 2 head's tokens", 210, 280),
        *label("block 2 add + norm", 250, 260),  # inside the one before
        complete("cuLaunchKernelEx", "cuda_driver", 3, 4, correlation=1),
        complete("cuLaunchKernelEx", "cuda_driver", 30, 31, correlation=2),
        complete("cuLaunchKernelEx", "cuda_driver", 55, 56, correlation=3),
        complete("cuLaunchKernelEx", "cuda_driver", 60, 61, correlation=4),
        complete("cuLaunchKernelEx", "cuda_driver", 82, 83, correlation=5),
        complete("cudaLaunchKernel", "cuda_runtime", 220, 221, correlation=6),
        complete("cuLaunchKernelEx", "cuda_driver", 255, 256, correlation=7),
        complete("cudaLaunchKernel", "cuda_runtime", 270, 271, correlation=8),
        complete("cudaLaunchKernel", "cuda_runtime", 300, 301, correlation=9),  # in block 2 and none of its stages
        complete("cudaLaunchKernel", "cuda_runtime", 395, 396, correlation=10),  # behind the blocks
        kernel("patch_tokens_forward", 1000, 1008, 1),
        kernel("attention_forward", 1010, 1030, 2),
        kernel("rank_pairs", 1030, 1033, 3),
        kernel("write_plan", 1033, 1035, 4),
        kernel("merge_norm_forward", 1035, 1045, 5),
        kernel("gemm", 1045, 1057, 6),
        kernel("merge_norm_forward", 1057, 1061, 7),
        kernel("gemm", 1061, 1070, 8),
        kernel("Memset (Device)", 1070, 1071, 9, "gpu_memset"),
        kernel("gemm", 1071, 1073, 10),
        kernel("left over", 1, 999, 77),  # of a launch that the trace does not have
    ]
    times = read(tmp_path, events)
    rows = block_stage_rows(times)
    found = {(row.block, row.stage): (row.calls, round(row.ms * 1000, 6)) for row in rows if row.device == "cuda"}
    assert found == {
        (0, "patch tokens"): (1, 8),
        (1, "weighted attention"): (1, 20),
        (1, "merge plan"): (2, 3 + 2),
        (1, "merge + norm"): (1, 10),
        (2, "head's tokens"): (2, 12 + 9),
        (2, "add + norm"): (1, 4),
        (0, "other"): (0, 1 + 2),
    }
    first, second = (row for row in block_rows(times, {1: (9, 7), 2: (7, 7)}) if row.device == "cuda")
    assert (first.attention_ms, first.plan_ms, first.merge_ms, first.other_ms) == (0.02, 0.005, 0.01, 0)
    assert (second.attention_ms, second.other_ms, second.total_ms) == pytest.approx((0.021, 0.005, 0.026))
    assert first.merging_share == pytest.approx(15 / 35)
    summary = summary_rows("candidate", times, (first, second), batch_size=1, seconds=[(2.0, 1.0)], ran="triton")[1]
    assert summary.forward_ms == pytest.approx(0.071)
    assert summary.plan_share == pytest.approx(5 / (35 + 26))
    assert summary.merging_share == pytest.approx(15 / (35 + 26))
    kernels = [(row.name, row.calls, round(row.ms * 1000, 6), row.stages) for row in kernel_rows(times, "eagerly")]
    assert kernels == [
        ("gemm", 3, 23, "head's tokens"),
        ("attention_forward", 1, 20, "weighted attention"),
        ("merge_norm_forward", 2, 14, "add + norm; merge + norm"),
        ("patch_tokens_forward", 1, 8, "patch tokens"),
        ("rank_pairs", 1, 3, "merge plan"),
        ("write_plan", 1, 2, "merge plan"),
        ("Memset (Device)", 1, 1, ""),
    ]
    share = {row.stage: row.share for row in stage_rows(rows) if row.device == "cuda"}
    assert share["weighted attention"] == pytest.approx(20 / 71)
    assert sum(share.values()) == pytest.approx(1)


def test_kernels_of_a_graph_belong_to_the_forward_that_replayed_it(tmp_path):
    """All kernels of a replay have the correlation of its one launch, and run after the forward's label has ended."""
    events = []
    for i, pause in enumerate((0, 6, 0)):
        at, ran = 100 * i, 90 + 100 * i
        launch, copy, clone = 10 * i + 1, 10 * i + 2, 10 * i + 3
        events += [
            *label("forward", at, at + 50),
            complete("cudaMemcpyAsync", "cuda_runtime", at + 2, at + 5, correlation=copy),
            complete("cudaGraphLaunch", "cuda_runtime", at + 10, at + 20, correlation=launch),
            complete("cudaLaunchKernel", "cuda_runtime", at + 30, at + 31, correlation=clone),
            complete("cudaDeviceSynchronize", "cuda_runtime", at + 60, at + 99, correlation=10 * i + 4),
            kernel("Memcpy DtoD", ran, ran + 2, copy, "gpu_memcpy"),
            kernel("attention_forward", ran + 2, ran + 12, launch, **{"graph id": 3, "graph node id": 1}),
            kernel("merge_norm_forward", ran + 12, ran + 17 + pause, launch, **{"graph id": 3, "graph node id": 2}),
            kernel("attention_forward", ran + 30, ran + 42, launch, **{"graph id": 3, "graph node id": 3}),
            kernel("clone", ran + 42, ran + 43, clone),
        ]
    times = read(tmp_path, events)
    assert times["cuda"].forwards == [30_000, 36_000, 30_000]
    rows = kernel_rows(times, "graph")
    assert [(row.name, row.calls, round(row.ms * 1000, 6), row.stages, row.ran) for row in rows] == [
        ("attention_forward", 2, 22, "", "graph"),
        ("merge_norm_forward", 1, 5, "", "graph"),
        ("Memcpy DtoD", 1, 2, "", "graph"),
        ("clone", 1, 1, "", "graph"),
    ]
    assert [row.share for row in rows] == [pytest.approx(us / 30) for us in (22, 5, 2, 1)]


# Cells


class HereAndNow:
    """Runs a cell in this process, as the patched model is only here."""

    def run(self, function, cell, folder, forwards, time_limit):
        return Outcome(status="ok", value=profile_cell(cell, folder, forwards))


@pytest.fixture
def cell(monkeypatch):
    """A cell on the engine, with a model of that geometry."""
    monkeypatch.setattr("bench.profiling.capture.build_cell_model", lambda ref, seed: tiny_model())
    monkeypatch.setattr("fastast.engine.compilation._SAID", set())
    asked = ["grid.engine=['triton']", "grid.r=[1]", "grid.schedule=['constant']", "kinds=['performance']"]
    asked += ["measure.baselines=['unmerged', 'slice']", "measure.threads=1", "grid.batch_size=[1]"]
    (cell,) = expand(load_sweep(SWEEPS / "smoke.toml", [*asked, "grid.device=['cpu']"]))
    return cell


def shown(cell, out) -> tuple[str, dict[str, dict[str, str]]]:
    """Return what is printed, in one line, and the rows of `summary.csv`."""
    console = Console(file=io.StringIO(), width=120)
    (folder,) = profile_cells([cell], out, forwards=1, console=console, isolation=HereAndNow())
    with (folder / "summary.csv").open() as file:
        return " ".join(console.file.getvalue().split()), {row["arm"]: row for row in csv.DictReader(file)}


@pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
def test_where_the_engine_falls_back_the_plain_forward_is_profiled_and_said(cell, tmp_path, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    text, summary = shown(cell, tmp_path)
    assert text.count("the engine fell back, as Triton ") == 1
    assert "this is the model's own forward in plain torch" in text
    assert list(summary) == ["candidate", "unmerged", "slice"]
    assert {row["ran"] for row in summary.values()} == {"plain"}
    assert float(summary["candidate"]["merging_share"]) > 0 == float(summary["unmerged"]["merging_share"])


def test_in_the_interpreter_there_are_stages_and_no_shares(cell, tmp_path, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("the interpreter is for machines without a CUDA device")
    from tests.fastast.kernels.interpreter import interpret

    interpret(monkeypatch)
    monkeypatch.setattr("bench.profiling.capture.build_cell_model", lambda ref, seed: tiny_model(SMALLEST))
    cell = dataclasses.replace(cell, measure=cell.measure.model_copy(update={"baselines": ("unmerged",)}))  # for time
    text, summary = shown(cell, tmp_path)
    assert f"Note: {INTERPRETED}" in text
    assert "best partner" in text
    assert "%" not in text
    assert list(summary) == ["candidate", "unmerged"]
    for arm, row in summary.items():
        assert row["ran"] == "triton_interpreter"
        assert row["merging_share"] == row["plan_share"] == row["merging_share_of_forward"] == ""
        (folder,) = tmp_path.glob(f"*/{arm}")
        assert not (folder / "kernels.csv").exists()
        with (folder / "stages.csv").open() as file:
            stages = {line["stage"]: line for line in csv.DictReader(file)}
        # Of two blocks one merges: the last computes the head's tokens alone.
        assert stages.get("best partner", {}).get("calls") == ("1" if arm == "candidate" else None)
        assert stages["mlp, first product"]["calls"] == "2"
        assert {line["share"] for line in stages.values()} == {""}


@pytest.mark.gpu
def test_on_a_gpu_the_graph_has_the_kernels_of_the_eager_forward(tmp_path):
    """Attention runs in the blocks that compute all tokens, merging in those that merge; both are seen both ways."""
    model = tiny_model().to("cuda", torch.bfloat16)
    engine = fastast.compile(model, merging(), batch_size=2)
    clips = fbank().to("cuda", torch.bfloat16)
    made = profile_engine("candidate", engine, clips, tmp_path, forwards=2, device="cuda")
    rows = {(row.ran, row.name): row for row in made.kernels}
    for ran in ("eagerly", "graph"):
        assert rows[ran, "attention_forward"].calls == 2
        assert rows[ran, "best_partner_forward"].calls == 1
        assert sum(row.share for row in made.kernels if row.ran == ran) == pytest.approx(1)
    assert rows["eagerly", "attention_forward"].stages == "weighted attention"
    assert rows["eagerly", "best_partner_forward"].stages == "best partner"
    stages = {row.stage: row for row in made.stages if row.device == "cuda"}
    assert stages["weighted attention"].ms == pytest.approx(rows["eagerly", "attention_forward"].ms)
    assert {path.name for path in tmp_path.iterdir()} == {made.trace, "graph"}
    write_tables(tmp_path.parent, [dataclasses.replace(made, arm=tmp_path.name)])
    assert (tmp_path / "kernels.csv").exists()
