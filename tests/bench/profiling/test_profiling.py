"""Profiles: what is labelled, what is read off a trace, what TensorBoard makes of it, and what a person may ask."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict

import psutil
import pytest
import torch
from typer.testing import CliRunner

import fastast.model
from bench.cli import app
from bench.profiling.capture import profile_cell
from bench.profiling.files import write_tables
from bench.profiling.labels import STAGES
from bench.profiling.model_capture import profile_model, tokens_in_and_out
from bench.profiling.select import select_cells
from bench.profiling.stages import PLAIN, Labels
from bench.profiling.tables import block_rows, summary_rows
from bench.profiling.trace import TraceEvent, attribute, read_events, self_times
from bench.sweep.complaints import ConfigError
from bench.sweep.expansion import expand
from bench.sweep.file import SWEEPS, load_sweep
from fastast.hosts import reduce
from fastast.reduction import MergePlan, TokenReduction
from fastast.schedule import PerBlock

REMOVED = (20, 0, 10)
TOKENS = [(70, 50), (50, 50), (50, 40)]
"""By hand: 70 tokens, of which the blocks remove those."""
SLEEP = 0.05
"""Seconds that the third block's merge is made to take longer: more than all else together."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("profiles")


@pytest.fixture(scope="module")
def profiles(folder):
    """Profiles of a small model, merged and not; the merge of its third block sleeps."""
    from fastast.geometry import Geometry

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of two, one waits for the other on a machine that does other things too
    torch.manual_seed(0)
    model = fastast.model.AudioSpectrogramTransformer(
        Geometry(embed_dim=32, depth=3, num_heads=2, num_classes=5, num_mel_bins=48, num_frames=176)
    ).eval()
    fbank = torch.randn(2, 176, 48)

    original = MergePlan.merge

    def slow_merge(self, x, size, combine):
        if x.shape[1] == TOKENS[2][0]:
            time.sleep(SLEEP)
        return original(self, x, size, combine)

    made = {}
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        made["unmerged"] = profile_model("unmerged", model, fbank, folder / "cell/unmerged", forwards=3, device="cpu")
        patch.setattr(MergePlan, "merge", slow_merge)
        with reduce(model, TokenReduction(schedule=PerBlock(REMOVED))):
            made["candidate"] = profile_model(
                "candidate", model, fbank, folder / "cell/candidate", forwards=3, device="cpu"
            )
    torch.set_num_threads(threads)
    return made


def test_labels_change_no_output(small_model, small_fbank):
    reduce(small_model, TokenReduction(schedule=PerBlock(REMOVED)))
    watched = small_model(small_fbank, scope=Labels(PLAIN))
    assert torch.equal(watched, small_model(small_fbank))
    assert [tokens_in_and_out(small_model, small_fbank)[block] for block in (1, 2, 3)] == TOKENS


def test_blocks_have_the_planned_tokens_and_their_stages_add_up(profiles):
    rows = profiles["candidate"].blocks
    assert [(row.tokens_in, row.tokens_out) for row in rows] == TOKENS
    assert [row.tokens_out for row in profiles["unmerged"].blocks] == [70] * 3
    for row in rows:
        parts = [getattr(row, f"{stage}_ms") for stage in STAGES]
        assert sum(parts) + row.other_ms == pytest.approx(row.total_ms)
        assert min(*parts, row.other_ms) >= 0
        assert row.attention_ms > 0
        assert row.mlp_ms > 0
        assert row.merging_share == pytest.approx((row.plan_ms + row.merge_ms) / row.total_ms)
    assert rows[1].plan_ms == rows[1].merge_ms == rows[1].merging_share == 0
    assert rows[0].plan_ms > 0
    (summary,) = profiles["candidate"].summary
    assert summary.blocks_ms == pytest.approx(sum(row.total_ms for row in rows))
    assert summary.merging_ms == pytest.approx(sum(row.plan_ms + row.merge_ms for row in rows))
    assert profiles["unmerged"].summary[0].merging_share == 0


def test_a_slow_merge_is_seen_in_its_block_and_stage(profiles):
    first, _, third = profiles["candidate"].blocks
    assert third.merge_ms >= 1000 * SLEEP > first.merge_ms
    assert third.merging_share > 0.5
    summary = profiles["candidate"].summary[0]
    assert summary.merging_share_low <= summary.merging_share <= summary.merging_share_high
    assert summary.unprofiled_ms >= 1000 * SLEEP  # the forward without profiler sleeps too


def test_operators_are_those_that_pytorch_counts(folder, profiles):
    rows = {row.name: row for row in profiles["candidate"].operators}
    assert rows["aten::scaled_dot_product_attention"].calls == 3  # once a block
    assert rows["aten::linear"].calls == 3 * 4 + 1  # qkv, proj, fc1 and fc2 of a block, and the head
    assert sum(row.share for row in rows.values()) == pytest.approx(1)
    assert {row.device for row in rows.values()} == {"cpu"}
    assert list(rows.values()) == sorted(rows.values(), key=lambda row: -row.self_ms)
    assert profiles["candidate"].summary[0].forward_ms > 1000 * SLEEP > sum(row.self_ms for row in rows.values())


def test_self_times_are_those_of_pytorchs_own_table(tmp_path):
    x = torch.randn(64, 64)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(5):
            torch.nn.functional.layer_norm(x @ x, (64,)).softmax(-1).sum()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    own: dict[str, int] = defaultdict(int)
    for event, duration in self_times(
        event for event in read_events(tmp_path / "trace.json") if event.category == "cpu_op"
    ):
        own[event.name] += duration
    table = {row.key: row.self_cpu_time_total for row in profiler.key_averages() if row.key.startswith("aten::")}
    assert own.keys() == table.keys()
    for name, microseconds in table.items():
        assert own[name] / 1000 == pytest.approx(microseconds, abs=0.1), name


def test_traces_are_chrome_traces_whose_events_nest(folder, profiles):
    """As Perfetto wants them: on a thread, an event lies inside another or beside it."""
    (path,) = (folder / "cell/candidate").glob("*.json")
    assert path.name == profiles["candidate"].trace
    assert re.fullmatch(r"candidate\.\d+\.pt\.trace\.json", path.name)
    events = json.loads(path.read_text())["traceEvents"]
    threads = defaultdict(list)
    for event in events:
        assert {"ph", "name", "pid", "tid", "ts"} <= event.keys()
        if event["ph"] == "X":
            assert event["dur"] >= 0
            threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"], event["name"]))
    tolerance = 0.002  # microseconds: times are of a nanosecond, in 64-bit floats near 1e12
    for spans in threads.values():
        stack = []
        for start, end, name in sorted(spans, key=lambda span: (span[0], -span[1])):
            while stack and stack[-1] <= start + tolerance:
                stack.pop()
            assert not stack or end <= stack[-1] + tolerance, name
            stack.append(end)
    names = [event["name"] for event in events]
    assert names.count("block 3 merge") == names.count("forward") == 3
    assert names.count("block 2 merge") == 0


def event(name, category, start, end, *, thread=(1, 1), correlation=None):
    return TraceEvent(name=name, category=category, thread=thread, start=start, end=end, correlation=correlation)


def test_a_kernel_belongs_to_the_stage_that_launched_it():
    """A GPU's trace by hand: kernels run after the labels under which they were launched have ended."""
    label, launch = "user_annotation", "cuda_runtime"
    events = [
        event("forward", label, 0, 100),
        event("block 1", label, 10, 90),
        event("block 1 attention", label, 12, 30),
        event("block 1 merge", label, 40, 60),
        event("aten::mm", "cpu_op", 13, 20),
        event("cudaLaunchKernel", launch, 14, 15, correlation=7),
        event("cudaLaunchKernel", launch, 45, 46, correlation=8),
        event("cudaLaunchKernel", launch, 70, 71, correlation=9),  # in the block, in none of its stages
        event("cudaLaunchKernel", launch, 95, 96, correlation=10),  # behind the block
        event("cudaLaunchKernel", launch, 45, 46, thread=(1, 2), correlation=11),  # another thread
        event("gemm", "kernel", 41, 81, thread=(0, 7), correlation=7),
        event("scatter", "kernel", 81, 84, thread=(0, 7), correlation=8),
        event("norm", "kernel", 110, 115, thread=(0, 7), correlation=9),
        event("head", "kernel", 115, 117, thread=(0, 7), correlation=10),
        event("other", "kernel", 120, 1000, thread=(0, 7), correlation=11),
        event("Memcpy HtoD", "gpu_memcpy", 0, 1000, thread=(0, 7), correlation=12),
    ]
    times = attribute(events)
    assert times["cuda"].forwards == [40 + 3 + 5 + 2]
    assert dict(times["cuda"].stages) == {(0, 1, "attention"): 40, (0, 1, "merge"): 3, (0, 1, "whole"): 40 + 3 + 5}
    assert times["cuda"].operators == {"gemm": [[40]], "scatter": [[3]], "norm": [[5]], "head": [[2]]}
    assert times["cpu"].operators == {"aten::mm": [[7]]}
    assert dict(times["cpu"].stages) == {(0, 1, "attention"): 18, (0, 1, "merge"): 20, (0, 1, "whole"): 80}
    with pytest.raises(ValueError, match="no forward was profiled"):
        attribute(events[1:])


def test_one_interrupted_forward_does_not_move_the_share():
    """Three forwards of one block by hand; the merge of the second was interrupted for a second."""
    label, events = "user_annotation", []
    for i, pause in enumerate((0, 1_000_000_000, 0)):
        start = 2_000_000_000 * i
        events += [
            event("forward", label, start, start + 100_000_000 + pause),
            event("block 1", label, start, start + 80_000_000 + pause),
            event("block 1 attention", label, start, start + 40_000_000),
            event("block 1 plan", label, start + 40_000_000, start + 48_000_000),
            event("block 1 merge", label, start + 48_000_000, start + 60_000_000 + pause),
        ]
    times = attribute(events)
    (row,) = block_rows(times, {1: (70, 50)})
    assert (row.attention_ms, row.plan_ms, row.merge_ms, row.mlp_ms, row.other_ms) == (40, 8, 12, 0, 20)
    assert (row.total_ms, row.merging_share) == (80, 0.25)
    (summary,) = summary_rows("candidate", times, (row,), batch_size=4, seconds=[(0.12, 0.1)] * 3)
    assert (summary.forward_ms, summary.merging_share, summary.merging_share_of_forward) == (100, 0.25, 0.2)
    assert (summary.merging_share_low, summary.merging_share_high) == (0.25, pytest.approx(1020 / 1080))
    assert summary.profiler_overhead == summary.overhead_low == summary.overhead_high == pytest.approx(1.2)


def test_a_part_that_escapes_its_label_is_no_zero(small_model, small_fbank, tmp_path, monkeypatch):
    """Were merging done elsewhere, a share of 0 % would be a lie."""
    monkeypatch.delitem(PLAIN, "merge")
    reduce(small_model, TokenReduction(schedule=PerBlock(REMOVED)))
    with pytest.raises(RuntimeError, match="block 1: no label merge in the trace"), torch.inference_mode():
        profile_model("candidate", small_model, small_fbank, tmp_path, forwards=1, device="cpu")


def test_a_new_trace_replaces_the_old_one_and_nothing_else(small_model, small_fbank, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    for _ in range(2):
        with torch.inference_mode():
            profile = profile_model("candidate", small_model, small_fbank, tmp_path, forwards=1, device="cpu")
    assert {path.name for path in tmp_path.iterdir()} == {"mine.json", profile.trace}


def test_tables_are_written_as_csv(profiles, tmp_path):
    for arm in profiles:
        (tmp_path / arm).mkdir()
    write_tables(tmp_path, profiles.values())
    with (tmp_path / "candidate/blocks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["tokens_in"]), int(row["tokens_out"])) for row in rows] == TOKENS
    for row, expected in zip(rows, profiles["candidate"].blocks, strict=True):
        assert float(row["total_ms"]) == pytest.approx(expected.total_ms, rel=1e-5)
    with (tmp_path / "summary.csv").open() as file:
        assert [row["arm"] for row in csv.DictReader(file)] == ["unmerged", "candidate"]


# What TensorBoard's plugin makes of a folder


@pytest.fixture(scope="module")
def plugin(folder, profiles):
    """A function that asks the plugin of a TensorBoard that looks at `folder`."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0"]
    log = folder.parent / "tensorboard.log"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120

        def wait_for(get):
            while time.monotonic() < deadline:
                assert process.poll() is None, log.read_text()
                found = get()
                if found:
                    return found
                time.sleep(0.3)
            raise AssertionError(f"TensorBoard did not answer: {log.read_text()}")

        address = wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text())).group()

        def ask(path, wanted=bool):
            def get():
                try:
                    with opener.open(f"{address}/data/plugin/pytorch_profiler/{path}", timeout=30) as response:
                        answer = json.loads(response.read())
                except (urllib.error.HTTPError, ConnectionError):  # not loaded yet
                    return None
                return answer if wanted(answer) else None

            return wait_for(get)

        yield ask
    finally:
        family = psutil.Process(process.pid).children(recursive=True)  # the plugin reads in processes of its own
        for one in [process, *family]:
            one.kill()
        process.wait()
        psutil.wait_procs(family, timeout=10)


@pytest.mark.slow
def test_tensorboards_plugin_opens_the_traces(plugin, profiles):
    runs = plugin("runs", lambda answer: len(answer["runs"]) == 2 and not answer["loading"])["runs"]
    assert sorted(runs) == ["cell/candidate", "cell/unmerged"]
    run = "run=cell/candidate"
    assert "Overview" in plugin(f"views?{run}")
    assert plugin(f"workers?{run}&view=Overview") == ["candidate"]
    (span,) = plugin(f"spans?{run}&worker=candidate")
    overview = plugin(f"overview?{run}&worker=candidate&span={span}")
    steps = overview["steps"]["rows"]
    assert len(steps) == 3
    table = plugin(f"operation/table?{run}&worker=candidate&span={span}&group_by=Operation")
    seen = {row["name"]: row["calls"] for row in table["data"]}
    ours = {row.name: row.calls * 3 for row in profiles["candidate"].operators}
    assert seen["aten::scaled_dot_product_attention"] == ours["aten::scaled_dot_product_attention"] == 9


# What a person may ask

SWEEP = """
name = "small"
kinds = ["performance"]
[model]
name = "ast_tiny"
frames = 96
[grid]
schedule = ["constant", "linear:-0.5", "keep:0.9"]
r = [0, 4, 8]
[measure]
threads = 1
"""


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def cells(sweep):
    return expand(load_sweep(sweep))


@pytest.mark.parametrize(
    ("asked", "schedules"),
    [
        ({"r": 8}, {"constant:8", "linear:8:-0.5"}),
        ({"r": 8, "schedule": "constant"}, {"constant:8"}),
        ({"schedule": "linear:-0.5"}, {"linear:4:-0.5", "linear:8:-0.5"}),
        ({"schedule": "constant:4"}, {"constant:4"}),
        ({"schedule": "keep:0.9"}, {"keep:0.9"}),
        ({"r": 0}, {None}),
    ],
)
def test_cells_are_found_by_what_they_reduce(cells, asked, schedules):
    found = select_cells(cells, **asked)
    assert {cell.reduction and str(cell.reduction.schedule) for cell in found} == schedules


def test_a_cell_is_found_by_the_start_of_its_id(cells):
    for cell in cells:
        assert select_cells(cells, cell.id) == (cell,)
    lengths = itertools.count(1)
    start = next(n for n in lengths if len({cell.id[:n] for cell in cells}) == len(cells))
    assert select_cells(cells, cells[0].id[:start].upper()) == cells[:1]


def refusal(cells, *args, **kwargs) -> str:
    with pytest.raises(ConfigError) as caught:
        select_cells(cells, *args, **kwargs)
    return str(caught.value)


def test_cells_that_do_not_exist_are_answered_with_those_that_do(cells):
    everything = [f"{cell.id}  {cell.title}" for cell in cells]
    wrong = cells[2].id[:-1] + ("0" if cells[2].id[-1] != "0" else "1")
    text = refusal(cells, wrong)
    assert f"no cell '{wrong}'. Did you mean {cells[2].id}" in text
    assert all(line in text for line in everything)
    assert "which cell?" in refusal(cells)
    assert "begins 6 ids" in refusal(cells, "")
    text = refusal(cells, r=8, schedule="constnat:8")
    assert "no performance cell has r = 8 and schedule 'constnat:8'; the nearest schedule is 'constant:8'" in text
    assert all(line in text for line in everything)
    quality = dataclasses.replace(cells[0], kind="quality")
    assert "is a quality cell" in refusal([*cells, quality], quality.id)
    assert "no performance cells" in refusal([quality])


@pytest.mark.slow
def test_the_command_profiles_a_cell_and_says_what_merging_takes(sweep, cells, tmp_path):
    cell = next(cell for cell in cells if str(cell.reduction) == "tome constant:8")
    out = tmp_path / "out"
    shown = CliRunner().invoke(app, ["profile", str(sweep), cell.id[:8], "--out", str(out), "--forwards", "2"])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"merging is \d+\.\d% of the blocks", shown.output)
    assert "110 → 102" in shown.output  # 12 x 9 patches and 2 tokens, of which 8 merge
    assert "tensorboard" in shown.output
    folder = out / "small" / f"{cell.id}-cpu"
    for arm in ("candidate", "unmerged"):
        assert {path.suffix for path in (folder / arm).iterdir()} == {".json", ".csv"}
    with (folder / "summary.csv").open() as file:
        summary = {row["arm"]: row for row in csv.DictReader(file)}
    assert summary["candidate"]["forwards"] == "2"
    assert summary["candidate"]["device"] == "cpu"
    assert float(summary["candidate"]["merging_share"]) > 0 == float(summary["unmerged"]["merging_share"])


def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(sweep, tmp_path):
    (tmp_path / "file").touch()
    shown = CliRunner().invoke(app, ["profile", str(sweep), "--r", "8", "--out", str(tmp_path / "file")])
    assert shown.exit_code == 1
    assert "cannot be written: Not a directory; give another folder with --out" in shown.output
    assert "Loading" not in shown.output
    shown = CliRunner().invoke(app, ["profile", str(sweep), "zzz"])
    assert shown.exit_code == 2
    assert "no cell 'zzz'" in shown.output


@pytest.mark.parametrize("scope", ["waveform", "training_step"])
def test_what_is_no_forward_is_not_profiled_as_if_it_were_one(tmp_path, scope):
    asked = [f"measure.scope={scope}", "measure.baselines=['unmerged']", "grid.r=[0]", "kinds=['performance']"]
    (cell,) = expand(load_sweep(SWEEPS / "smoke.toml", asked))
    with pytest.raises(ConfigError, match="-s measure.scope=forward profiles the model's forward"):
        profile_cell(cell, tmp_path, 1)
