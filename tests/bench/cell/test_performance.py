"""Performance cells for real on a small model: gates that hold and break, batch sizes, caches, first calls."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from shallow_model import FRAMES, create_shallow
from test_worker import cell

from bench.cell import model_facts, performance, worker
from bench.cell.answers import Context
from bench.measure.best_batch import Search
from bench.measure.conditions import unknown_conditions
from bench.measure.energy import Energy
from bench.records.schema import ArmTimes
from fastast import create_model
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.reduction.forward.stages import ModuleStages
from fastast.schedule import Constant
from fastast.system.allocator import allocator_name
from fastast.system.processors import most_threads

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _calm(monkeypatch):
    """Nothing is held against this machine, which may do other things too."""
    monkeypatch.setattr(performance.Judge, "each", lambda self, rounds: [()] * len(rounds))
    monkeypatch.setattr(performance.Judge, "together", lambda self, rounds: ())


def gates(answer) -> dict[str, bool]:
    return {gate.name: gate.passed for gate in answer.gates}


def measured(**changes):
    usual = {"baselines": ("unmerged", "slice")}
    asked = cell()
    return cell(measure=asked.measure.model_copy(update=usual | changes.pop("measure", {})), **changes)


def test_all_gates_of_a_merged_cell_are_looked_at():
    answer = worker.answer(measured(measure={"bound_tolerance": 99.0}), Context())
    expected = dict.fromkeys(("tokens", "macs", "identity", "mac_bound", "slice_bound", "clock"), True)
    assert gates(answer) == expected
    assert answer.conditions.before is not None
    assert answer.conditions.seconds > 0


def test_an_unmerged_cell_has_no_bound():
    assert gates(worker.answer(measured(reduction=None), Context())) == {"tokens": True, "macs": True, "clock": True}


def test_a_block_that_keeps_its_tokens_is_caught(monkeypatch):
    def lazy(self, tokens, plan, reduction):
        return *self.add(tokens.block, tokens.before, tokens.branch), tokens.size

    monkeypatch.setattr(ModuleStages, "merge", lazy)
    found = gates(worker.answer(measured(), Context()))
    assert found["tokens"] is False
    assert found["macs"] is False  # what runs is not what the formula counts


def test_a_reduction_that_changes_the_model_at_r_0_is_caught(monkeypatch):
    forward = AudioSpectrogramTransformer.forward

    def spoiled(self, fbank):
        return forward(self, fbank) * (1.01 if self.attached else 1.0)

    monkeypatch.setattr(AudioSpectrogramTransformer, "forward", spoiled)
    assert gates(worker.answer(measured(), Context()))["identity"] is False


def arm(seconds: float, batch_size: int = 2) -> ArmTimes:
    return ArmTimes(seconds=(seconds,) * 5, iterations_per_round=1, batch_size=batch_size, first_call_s=None, load=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (arm(0.9), {"mac_bound": True, "slice_bound": True}),
        (arm(0.1), {"mac_bound": False, "slice_bound": False}),  # 10 times as fast as unmerged
        (arm(0.9, batch_size=20), {"mac_bound": False, "slice_bound": False}),  # the same, a clip
    ],
)
def test_a_speed_up_that_cannot_be_is_caught(candidate, expected):
    part = worker.answer(measured(), Context()).performance
    geometry = create_shallow(num_frames=FRAMES).geometry
    arms = {"candidate": candidate, "unmerged": arm(1.0), "slice": arm(0.5)}
    part = part.model_copy(update={"arms": arms})
    found = performance.performance_gates(measured(), geometry, part, unknown_conditions())
    assert {gate.name: gate.passed for gate in found} == expected | {"clock": True}


@pytest.mark.slow
def test_every_arm_has_its_own_best_batch():
    part = worker.answer(measured(batch_size="best", measure={"best_batch_limit": 4}), Context()).performance
    for name, found in part.search.items():
        assert isinstance(found, Search)
        fastest = max(trial.clips_per_s for trial in found.trials)
        chosen = next(trial.clips_per_s for trial in found.trials if trial.batch_size == found.best)
        assert chosen >= fastest / 1.02
        assert part.arms[name].batch_size == found.best


def test_the_search_ends_where_memory_does(monkeypatch):
    class OutOfMemoryError(RuntimeError):
        pass

    forward = AudioSpectrogramTransformer.forward

    def small(self, fbank):
        if len(fbank) > 1:
            raise OutOfMemoryError("CUDA out of memory")
        return forward(self, fbank)

    monkeypatch.setattr(AudioSpectrogramTransformer, "forward", small)
    part = worker.answer(measured(batch_size="best"), Context()).performance
    assert {found.ended for found in part.search.values()} == {"memory"}
    assert {arm.batch_size for arm in part.arms.values()} == {1}


def test_caches_are_overwritten_before_every_sample_and_not_in_its_time(monkeypatch):
    order = []
    monkeypatch.setattr(performance, "cache_flush", lambda device: (lambda: order.append("flush"), 123))
    forward = AudioSpectrogramTransformer.forward
    monkeypatch.setattr(
        AudioSpectrogramTransformer, "forward", lambda self, fbank: (order.append("call"), forward(self, fbank))[1]
    )
    asked = measured(reduction=None, measure={"flush_caches": True, "baselines": ("unmerged",)})
    part = worker.answer(asked, Context()).performance
    assert part.flushed_bytes == 123
    samples = sum(len(arm.seconds) for arm in part.arms.values()) + sum(part.warmup.iterations.values())
    timed = order[2:][: 2 * samples]  # two first calls before
    assert timed == ["flush", "call"] * samples


def test_the_flush_is_twice_the_last_cache(tmp_path):
    for level, size in (("1", "32K"), ("3", "512K"), ("2", "64K")):
        folder = tmp_path / f"index{level}"
        folder.mkdir()
        (folder / "level").write_text(f"{level}\n")
        (folder / "size").write_text(f"{size}\n")
    assert performance._last_cache_bytes(tmp_path) == 512 * 1024
    assert performance._last_cache_bytes(tmp_path / "none") == performance._UNKNOWN_CACHE
    flush, count = performance.cache_flush("cpu")
    assert flush().numel() == count


@pytest.mark.slow
def test_compilation_is_in_the_first_call_and_in_no_sample(monkeypatch):
    import time

    forward, seen = AudioSpectrogramTransformer.forward, set()

    def compiled(self, fbank):
        if id(self) not in seen:
            seen.add(id(self))
            time.sleep(0.5)
        return forward(self, fbank)

    monkeypatch.setattr(AudioSpectrogramTransformer, "forward", compiled)
    part = worker.answer(measured(), Context()).performance
    assert all(arm.first_call_s > 0.5 > max(arm.seconds) for arm in part.arms.values())


def test_rounds_go_on_until_there_are_enough_samples():
    asked = measured(reduction=None, measure={"min_samples": 40, "max_seconds": 60.0, "baselines": ("unmerged",)})
    part = worker.answer(asked, Context()).performance
    assert min(len(arm.seconds) for arm in part.arms.values()) >= 40


def test_what_else_went_on_is_measured_in_every_round_of_every_arm():
    answer = worker.answer(measured(), Context())
    part = answer.performance
    for arm in part.arms.values():
        assert {len(column) for column in arm.load.model_dump().values()} == {part.rounds}
        assert min(arm.load.own) > 0
    assert part.disturbance.repeated == ()
    assert part.memory.arms["candidate"].after_bytes > 0
    assert answer.surroundings.threads == torch.get_num_threads()


def test_each_reason_to_doubt_the_numbers_is_told(monkeypatch):
    monkeypatch.setattr(performance.Judge, "each", lambda self, rounds: [("stolen",)] * len(rounds))
    restless = {"warmup_tolerance": 1e-9, "warmup_iterations": 4, "warmup_seconds": 0.0}
    reasons = worker.answer(measured(measure=restless), Context()).performance.disturbance.reasons
    rounds, warmup = reasons
    assert rounds.endswith("rounds were disturbed: the host took processors from this virtual machine")
    assert warmup.startswith("warm-up never settled: candidate")


def test_memory_is_set_up_as_the_cell_asks(monkeypatch):
    class AskedError(Exception):
        pass

    def set_up(*, threads, memory):
        raise AskedError(memory)

    monkeypatch.setattr(worker, "set_up", set_up)
    for allocator in ("kept", "system"):
        with pytest.raises(AskedError, match=allocator):
            worker.answer(measured(measure={"allocator": allocator}), Context())


@pytest.mark.slow
def test_freed_memory_is_kept_or_not_as_the_cell_asks():
    """In a process of its own, which nothing told to keep memory before; nothing tells it to give it back again."""
    code = """
import json, sys
sys.path.insert(0, sys.argv[1])
from shallow_model import use_shallow_models
from test_performance import measured
import pytest
from bench.cell import worker
from bench.cell.answers import Context
use_shallow_models(pytest.MonkeyPatch())
cells = [measured(measure={"allocator": allocator}) for allocator in ("system", "kept")]
print(json.dumps([worker.answer(cell, Context()).surroundings.memory for cell in cells]))
"""
    if not allocator_name().startswith("glibc"):
        pytest.skip(f"the allocator is {allocator_name()}")
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert json.loads(done.stdout.splitlines()[-1]) == ["system", "kept"]


def test_more_threads_than_can_run_are_refused():
    most = most_threads()
    message = f"measure.threads: {most + 1} threads would wait for each other.*let this process run {most} at once"
    for ask in (
        lambda: worker.probe("cpu", most + 1),
        lambda: worker.answer(measured(measure={"threads": most + 1}), Context()),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


def test_energy_that_cannot_be_read_is_unavailable_with_its_reason(monkeypatch):
    nothing = Energy(source="unavailable", reason="no counters here", arms={})
    monkeypatch.setattr(performance, "measure_energy", lambda calls, device, seconds: nothing)
    part = worker.answer(measured(measure={"energy_seconds": 0.5}), Context()).performance
    assert part.energy == nothing


@pytest.mark.parametrize(("schedule", "method"), [(None, "tome"), ("constant:8", "tome"), ("constant:8", "slice")])
def test_counted_multiply_accumulates_are_those_of_a_count_by_hand(schedule, method):
    model = create_model("ast_tiny", num_frames=FRAMES)
    reduction = TokenReduction(schedule=Constant(8), method=method) if schedule else None
    # Two of the 110 tokens are prefix tokens, one of each set, and are not matched.
    n, d, total = 110, 192, 108 * 256 * 192 + 192 * 527
    for _ in range(12):
        out = n - 8 if schedule else n
        pairs = ((n + 1) // 2 - 1) * (n // 2 - 1) * 64 if schedule and method == "tome" else 0
        total += 4 * n * d * d + 2 * n * n * d + pairs + 8 * out * d * d
        n = out
    assert model_facts.count_macs(model, reduction) == total


def test_counting_leaves_the_model_alone():
    model = create_model("ast_tiny", num_frames=FRAMES)
    model_facts.count_macs(model, TokenReduction(schedule=Constant(8)))
    assert model.attached is None
    assert next(model.parameters()).device == torch.device("cpu")


def test_a_method_that_looks_at_its_data_is_not_counted(monkeypatch):
    monkeypatch.setattr(
        AudioSpectrogramTransformer, "embed", lambda self, fbank: (fbank.sum().item(), 1 / 0)
    )  # .item() raises first
    assert model_facts.count_macs(create_model("ast_tiny", num_frames=FRAMES), None) is None


def test_kernels_are_held_against_the_unmerged_model():
    part = worker.answer(measured(attention="key_column"), Context())
    assert gates(part)["identity"] is True
    reduction = TokenReduction(schedule=Constant(8))
    other = dataclasses.replace(measured(attention="math"), reduction=reduction)
    assert gates(worker.answer(other, Context()))["identity"] is True
