"""A performance cell: candidate and baselines with the same weights, timed against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch

from bench.cell.arm_setting import Arm
from bench.cell.arms import build_arms, build_where_installed
from bench.cell.inputs import FED, inputs_of
from bench.cell.model_facts import attention_of_arm
from bench.measure import gates, nvml
from bench.measure.best_batch import Search, fastest_seconds, search_best_batch
from bench.measure.conditions import Conditions, Watch
from bench.measure.counters import usable_cores, usable_processors
from bench.measure.disturbance import Disturbance, Judge
from bench.measure.energy import measure_energy
from bench.measure.gates import Gate
from bench.measure.load import Meter, load_columns
from bench.measure.memory import is_out_of_memory, measure_memory
from bench.measure.timing import MIN_ROUNDS, Timing, TimingRule, measure
from bench.records import schema
from bench.records.speedup import speedup_over
from bench.sweep.cells import Cell
from fastast import model_macs
from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.system.clocks import Clock, CudaClock, WallClock

_NO_MAC_BOUND = (
    "the multiply-accumulates are those of a forward: a backward pass has others, the optimiser none, and the unmerged "
    "model may run on another engine"
)
_UNKNOWN_CACHE = 128 * 2**20
"""Assumed bytes of the last-level cache if the system does not report it; larger than most."""


def measure_performance(
    cell: Cell,
    model: AudioSpectrogramTransformer,
    candidate: AudioSpectrogramTransformer,
    watch: Watch,
    *,
    own: AudioSpectrogramTransformer | None = None,
) -> tuple[schema.Performance, bool]:
    """Return the samples of every arm with the load meanwhile, and whether the measurement was too noisy.

    `own` is the model at its own stride, if the cell has another.
    """
    assert cell.batch_size is not None
    arms = build_arms(cell, model, candidate, own=own)
    flush, flushed = cache_flush(cell.device) if cell.measure.flush_caches else (_nothing, 0)
    clock: Clock = CudaClock(flush) if cell.device == "cuda" else WallClock(flush=flush)
    first = {name: _first_call(name, arm, cell, model) for name, arm in arms.items()}
    others, left_out = build_where_installed(cell, model, candidate, own=own)
    for name, arm in others.items():
        try:
            first[name] = _first_call(name, arm, cell, model)
        except Exception as error:  # a third-party kernel on an unfamiliar GPU must not cost the cell
            reason = next(iter(str(error).splitlines()), "")
            left_out[name] = f"its first call failed: {type(error).__name__}: {reason}"
        else:
            arms[name] = arm
    search, sizes = None, {}
    if cell.batch_size == "best":
        search = {name: _search(name, arm, cell, model, clock) for name, arm in arms.items()}
        sizes = {name: found.best for name, found in search.items()}
    else:
        sizes = dict.fromkeys(arms, cell.batch_size)
    fed = {name: inputs_of(cell, model, name, sizes[name]) for name in arms}
    calls: dict[str, Callable[[], object]] = {name: partial(arm, *fed[name]) for name, arm in arms.items()}
    # A graph's memory was allocated when it was captured: measuring its replay would show none.
    eager = {name: partial(getattr(arm, "eagerly", arm), *fed[name]) for name, arm in arms.items()}
    rule = TimingRule(
        **{
            field.name: getattr(cell.measure, field.name)
            for field in dataclasses.fields(TimingRule)
            if hasattr(cell.measure, field.name)
        }
    )
    judge = Judge(cores=usable_cores(), processors=usable_processors(), device=cell.device)
    with nvml.current_device() if cell.device == "cuda" else nullcontext() as gpu:
        timing = measure(calls, rule, clock, observer=Meter(torch.get_num_threads(), gpu), judge=judge)
    watch.note(timing.arms["candidate"].loads)
    seconds = cell.measure.energy_seconds
    performance = schema.Performance(
        clock=timing.clock,
        input=FED[cell.measure.scope],
        search=search,
        flushed_bytes=flushed,
        warmup=schema.Warmup(
            rule=str(rule),
            iterations={name: len(arm.warmup_seconds) for name, arm in timing.arms.items()},
            stable={name: arm.warmup_stable for name, arm in timing.arms.items()},
        ),
        noise=schema.Noise(value=timing.noise, limit=rule.noise_limit, attempts=tuple(timing.noise_attempts)),
        disturbance=Disturbance(
            reasons=tuple(_doubts(timing)),
            repeated=tuple(timing.repeated),
            unread=judge.unread([load for arm in timing.arms.values() for load in arm.loads]),
        ),
        rounds=timing.rounds,
        arms={
            name: schema.ArmTimes(
                seconds=tuple(arm.seconds),
                iterations_per_round=arm.iterations_per_round,
                batch_size=sizes[name],
                first_call_s=first[name],
                load=load_columns(arm.loads),
            )
            for name, arm in timing.arms.items()
        },
        left_out=left_out,
        attention={name: attention_of_arm(calls[name], cell.device) for name in others if name in calls},
        memory=measure_memory(eager, cell.device),
        energy=measure_energy(calls, cell.device, seconds=seconds) if seconds else None,
    )
    return performance, timing.noisy


def _doubts(timing: Timing) -> Iterator[str]:
    """Yield reasons to doubt the numbers."""
    if timing.disturbed:
        yield timing.disturbed
    restless = [name for name, arm in timing.arms.items() if not arm.warmup_stable]
    if restless:
        yield f"warm-up never settled: {', '.join(restless)}"
    if timing.rounds < MIN_ROUNDS:
        yield f"{timing.rounds} rounds are too few for an interval"


def performance_gates(
    cell: Cell,
    geometry: Geometry,
    part: schema.Performance,
    conditions: Conditions,
    *,
    own: Geometry | None = None,
) -> tuple[Gate, ...]:
    """Check the speed-ups against their bounds, and the clocks.

    `own` is the geometry at the model's own stride, if the cell has another. A front end in every arm only brings
    ratios closer to 1, so the bounds of a forward hold with it too.
    """
    found = []
    tolerance, training = cell.measure.bound_tolerance, cell.measure.scope == "training_step"
    if not cell.is_unmerged and training:
        found.append(gates.not_looked_at("mac_bound", _NO_MAC_BOUND))
    elif not cell.is_unmerged:
        left = None if cell.reduction is None else cell.reduction.tokens_per_block(geometry)
        place = "between" if cell.reduction is None else cell.reduction.place
        ratio = model_macs(own or geometry) / model_macs(geometry, left, place=place)
        found.append(gates.within_mac_bound(speedup_over(part, "unmerged"), ratio, tolerance))
    if cell.reduction is not None and "slice" in part.arms:
        found.append(gates.within_slice_bound(speedup_over(part, "slice"), tolerance))
    if "model_alone" in part.arms:
        found.append(gates.within_model_alone(speedup_over(part, "model_alone"), tolerance))
    return (*found, gates.clock_held(conditions))


def cache_flush(device: str) -> tuple[Callable[[], object], int]:
    """Return a function that overwrites the device's caches, and how many bytes it writes: twice the last level."""
    if device == "cuda":
        size = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
    else:
        size = _last_cache_bytes(Path("/sys/devices/system/cpu/cpu0/cache"))
    buffer = torch.empty(2 * size, dtype=torch.uint8, device=device)
    return buffer.zero_, 2 * size


def _last_cache_bytes(folder: Path) -> int:
    """Return the size of the last-level cache that Linux reports."""
    sizes: Mapping[int, int] = {}
    try:
        sizes = {
            int((index / "level").read_text()): int((index / "size").read_text().strip().removesuffix("K")) * 1024
            for index in folder.glob("index*")
        }
    except (OSError, ValueError):
        return _UNKNOWN_CACHE
    return sizes[max(sizes)] if sizes else _UNKNOWN_CACHE


def _first_call(name: str, arm: Arm, cell: Cell, model: AudioSpectrogramTransformer) -> float:
    """Return the seconds of an arm's first call, on a batch of the cell's size, or on one clip before a search."""
    fed = inputs_of(cell, model, name, 1 if cell.batch_size == "best" else cell.batch_size or 1)

    def call() -> None:
        arm(*fed)
        if cell.device == "cuda":
            torch.cuda.synchronize()

    return WallClock().measure(call, 1)[0]


def _search(name: str, arm: Arm, cell: Cell, model: AudioSpectrogramTransformer, clock: Clock) -> Search:
    def time_batch(size: int) -> float:
        return fastest_seconds(partial(arm, *inputs_of(cell, model, name, size)), clock.measure)

    found = search_best_batch(time_batch, limit=cell.measure.best_batch_limit, is_out_of_memory=is_out_of_memory)
    if cell.device == "cuda":
        torch.cuda.empty_cache()  # free the memory of the largest batch for the next arm
    return found


def _nothing() -> None:
    pass
