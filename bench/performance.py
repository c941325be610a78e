"""A performance cell: candidate and baselines over the same weights, timed against each other.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench import baselines, records, sanity
from bench.best_batch import Search, fastest_seconds, search_best_batch
from bench.cells import Cell
from bench.conditions import Conditions, Watch
from bench.energy import measure_energy
from bench.isolation import is_out_of_memory
from bench.memory import measure_memory
from bench.sanity import Gate
from bench.speedup import speedup_over
from bench.timing import Clock, CudaClock, TimingRule, WallClock, measure
from fastast import model_macs
from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.schedule import PerBlock

Arm = Callable[[Tensor], Tensor]

_UNKNOWN_CACHE = 128 * 2**20
"""Bytes taken for the last level of cache where the system does not tell; larger than most."""


def measure_performance(
    cell: Cell, model: AudioSpectrogramTransformer, candidate: AudioSpectrogramTransformer, watch: Watch
) -> tuple[records.Performance, bool]:
    """Return the samples of every arm, and whether every attempt was too noisy."""
    assert cell.batch_size is not None
    arms = build_arms(cell, model, candidate)
    flush, flushed = cache_flush(cell.device) if cell.measure.flush_caches else (_nothing, 0)
    clock: Clock = CudaClock(flush) if cell.device == "cuda" else WallClock(flush=flush)
    first = {name: _first_call(arm, cell, model) for name, arm in arms.items()}
    search, sizes = None, {}
    if cell.batch_size == "best":
        search = {name: _search(arm, cell, model, clock) for name, arm in arms.items()}
        sizes = {name: found.best for name, found in search.items()}
    else:
        sizes = dict.fromkeys(arms, cell.batch_size)
    inputs = {size: synthetic_input(cell, model, size) for size in set(sizes.values())}
    calls: dict[str, Callable[[], object]] = {name: partial(arm, inputs[sizes[name]]) for name, arm in arms.items()}
    # What a graph needs was taken when it was captured: its replay would show no memory at all.
    eager = {name: partial(getattr(arm, "eagerly", arm), inputs[sizes[name]]) for name, arm in arms.items()}
    rule = TimingRule(
        **{
            field.name: getattr(cell.measure, field.name)
            for field in dataclasses.fields(TimingRule)
            if hasattr(cell.measure, field.name)
        }
    )
    timing = measure(calls, rule, clock, after_round=watch)
    seconds = cell.measure.energy_seconds
    performance = records.Performance(
        clock=timing.clock,
        input="normal noise on the device; the model's forward is timed, without features or copies",
        search=search,
        flushed_bytes=flushed,
        warmup=records.Warmup(
            rule=str(rule),
            iterations={name: len(arm.warmup_seconds) for name, arm in timing.arms.items()},
            stable={name: arm.warmup_stable for name, arm in timing.arms.items()},
        ),
        noise=records.Noise(value=timing.noise, limit=rule.noise_limit, attempts=tuple(timing.noise_attempts)),
        rounds=timing.rounds,
        arms={
            name: records.Arm(
                seconds=tuple(arm.seconds),
                iterations_per_round=arm.iterations_per_round,
                batch_size=sizes[name],
                first_call_s=first[name],
            )
            for name, arm in timing.arms.items()
        },
        memory=measure_memory(eager, cell.device),
        energy=measure_energy(calls, cell.device, seconds=seconds) if seconds else None,
    )
    return performance, timing.noisy


def performance_gates(
    cell: Cell, geometry: Geometry, part: records.Performance, conditions: Conditions
) -> tuple[Gate, ...]:
    """Hold the speed-ups against what they cannot exceed, and look at the clocks."""
    gates = []
    tolerance = cell.measure.bound_tolerance
    if cell.reduction is not None:
        tokens = cell.reduction.build().tokens_per_block(geometry)
        ratio = model_macs(geometry) / model_macs(geometry, tokens, matching=False)
        gates.append(sanity.within_mac_bound(speedup_over(part, "unmerged"), ratio, tolerance))
        if "slice" in part.arms:
            gates.append(sanity.within_slice_bound(speedup_over(part, "slice"), tolerance))
    return (*gates, sanity.clock_held(conditions))


def build_arms(
    cell: Cell, model: AudioSpectrogramTransformer, candidate: AudioSpectrogramTransformer
) -> dict[str, Arm]:
    """Return candidate and baselines, all over the same weights.

    `unmerged` and `slice` run on the candidate's own engine, the others on their own. Of the unmerged model, the arm
    `unmerged` is the same model again: its ratio shows the noise of the machine.
    """
    reduction = cell.reduction.build() if cell.reduction else None
    on_engine = cell.model.engine != "plain"
    # A search tries sizes that nobody knows before: no graphs then.
    captured = None if cell.batch_size == "best" else cell.batch_size
    arms: dict[str, Arm] = {"candidate": baselines.EngineArm(model, reduction, captured) if on_engine else candidate}
    for name in cell.question["measure"]["baselines"]:
        if name == "unmerged":
            arms[name] = baselines.EngineArm(model, None, captured) if on_engine else baselines.unmerged(model)
        elif name == "slice" and reduction is not None:
            # As many tokens as the candidate really removes, where its schedule is capped.
            counts = PerBlock(reduction.removals(model.geometry))
            if on_engine:
                arms[name] = baselines.EngineArm(model, baselines.slicing(counts), captured)
            else:
                arms[name] = baselines.sliced(model, counts)
        elif name == "tome_plain":
            removals = reduction.removals(model.geometry) if reduction else (0,) * model.geometry.depth
            proportional = reduction.proportional if reduction else True
            arms[name] = baselines.PlainToMe(model, removals, proportional=proportional)
        elif name == "timm":
            arms[name] = baselines.TimmAST(model)
        elif name == "timm_compiled":
            arms[name] = baselines.compiled(baselines.TimmAST(model))
        elif name == "hf":
            arms[name] = baselines.hugging_face_ast(model)
    return arms


def synthetic_input(cell: Cell, model: AudioSpectrogramTransformer, batch_size: int) -> Tensor:
    """Return normal noise (b, f, m) from the cell's seed, on its device and in its dtype."""
    geometry = model.geometry
    shape = (batch_size, geometry.num_frames, geometry.num_mel_bins)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(cell.seed))
    return noise.to(cell.device, getattr(torch, cell.dtype))


def cache_flush(device: str) -> tuple[Callable[[], object], int]:
    """Return what overwrites the device's caches with zeros, and how many bytes it writes: twice the last level."""
    if device == "cuda":
        size = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
    else:
        size = _last_cache_bytes(Path("/sys/devices/system/cpu/cpu0/cache"))
    buffer = torch.empty(2 * size, dtype=torch.uint8, device=device)
    return buffer.zero_, 2 * size


def _last_cache_bytes(folder: Path) -> int:
    """Return the size of the last level of cache as Linux shows it."""
    sizes: Mapping[int, int] = {}
    try:
        sizes = {
            int((index / "level").read_text()): int((index / "size").read_text().strip().removesuffix("K")) * 1024
            for index in folder.glob("index*")
        }
    except (OSError, ValueError):
        return _UNKNOWN_CACHE
    return sizes[max(sizes)] if sizes else _UNKNOWN_CACHE


def _first_call(arm: Arm, cell: Cell, model: AudioSpectrogramTransformer) -> float:
    """Return the seconds of an arm's first call, with a batch of the cell's size, or of one clip before a search."""
    fbank = synthetic_input(cell, model, 1 if cell.batch_size == "best" else cell.batch_size or 1)

    def call() -> None:
        arm(fbank)
        if cell.device == "cuda":
            torch.cuda.synchronize()

    return WallClock().measure(call, 1)[0]


def _search(arm: Arm, cell: Cell, model: AudioSpectrogramTransformer, clock: Clock) -> Search:
    def time_batch(size: int) -> float:
        fbank = synthetic_input(cell, model, size)
        return fastest_seconds(partial(arm, fbank), clock.measure)

    found = search_best_batch(time_batch, limit=cell.measure.best_batch_limit, is_out_of_memory=is_out_of_memory)
    if cell.device == "cuda":
        torch.cuda.empty_cache()  # what the largest batch took belongs to the next arm
    return found


def _nothing() -> None:
    pass
