"""What runs in the process of a profiled cell: its candidate and the unmerged model, one after the other.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, schedule, tensorboard_trace_handler

from bench import baselines
from bench.cells import Cell
from bench.complaints import ConfigError
from bench.inputs import synthetic_input
from bench.machine import default_threads
from bench.profiling.by_stage import block_stage_rows, kernel_rows, stage_rows
from bench.profiling.labels import MERGING
from bench.profiling.stages import Labels, labelled
from bench.profiling.tables import Profile, block_rows, operator_rows, summary_rows
from bench.profiling.trace import DeviceTimes, attribute, read_events
from bench.timing import Clock, CudaClock, WallClock
from bench.worker import build_model
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import reduce

WAIT, WARMUP = 1, 2
"""Forwards before the profiler runs, and those that it runs for but forgets."""


def profile_cell(cell: Cell, folder: Path, forwards: int) -> tuple[Profile, ...]:
    """Profile a cell's candidate and the unmerged model over the same weights and input, on the cell's engine.

    Traces go to a folder for each arm below `folder`. Of the unmerged cell there is only `unmerged`; on the engine the
    oracle `slice` is there too where it is one of the cell's baselines.
    """
    if cell.batch_size == "best":
        raise ConfigError(["profile: this cell searches its batch size; give one, such as -s grid.batch_size=[8]"])
    if cell.measure.scope != "forward":
        raise ConfigError(
            [
                f"profile: measure.scope is '{cell.measure.scope}', and only forwards can be profiled; "
                "-s measure.scope=forward profiles the model's forward"
            ]
        )
    torch.set_num_threads(cell.measure.threads or default_threads())
    model = build_model(cell.model, seed=cell.seed).to(cell.device, getattr(torch, cell.dtype)).eval()
    if cell.model.engine != "plain":
        from bench.profiling.engine_capture import profile_engines

        return profile_engines(cell, model, folder, forwards)
    arms = {"unmerged": baselines.unmerged(model)}
    if cell.reduction is None:
        arms["unmerged"].attention_kernel = cell.attention
    else:
        candidate = baselines.unmerged(model)
        reduce(candidate, cell.reduction.build(), attention=cell.attention)
        arms = {"candidate": candidate, **arms}
    with torch.inference_mode():
        fbank = synthetic_input(cell, model, cell.batch_size or 1)
        return tuple(
            profile_model(name, arm, fbank, folder / name, forwards=forwards, device=cell.device)
            for name, arm in arms.items()
        )


def profile_model(
    name: str, model: AudioSpectrogramTransformer, fbank: Tensor, folder: Path, *, forwards: int, device: str
) -> Profile:
    """Profile a model on fbank (b, f, m) and write its trace to `folder`, where it replaces an older one of that name.

    Raises RuntimeError where what ran is not what the model's reduction planned: its times would belong to another.
    """
    call = partial(model, fbank)
    with labelled(model) as labels:
        trace, times = record(
            call, name, folder, forwards, device, check=lambda times: _check(model, labels, times, forwards)
        )
    seconds = [with_and_without(partial(labelled, model), call, device) for _ in range(forwards)]
    return profile_of(name, trace, times, labels.tokens, batch_size=fbank.shape[0], seconds=seconds)


def profile_of(
    name: str,
    trace: str,
    times: dict[str, DeviceTimes],
    tokens: dict[int, tuple[int, int]],
    *,
    batch_size: int,
    seconds: list[tuple[float, float]],
    ran: str = "plain",
) -> Profile:
    """Return all tables of an arm."""
    blocks, block_stages = block_rows(times, tokens), block_stage_rows(times)
    return Profile(
        arm=name,
        trace=trace,
        operators=operator_rows(times),
        blocks=blocks,
        summary=summary_rows(name, times, blocks, batch_size=batch_size, seconds=seconds, ran=ran),
        stages=stage_rows(block_stages),
        block_stages=block_stages,
        kernels=kernel_rows(times, "eagerly"),
    )


def record(
    call: Callable[[], object],
    name: str,
    folder: Path,
    forwards: int,
    device: str,
    *,
    check: Callable[[dict[str, DeviceTimes]], None],
) -> tuple[str, dict[str, DeviceTimes]]:
    """Run `call` under the profiler; return the name and the times of the trace of the last `forwards` calls.

    The trace goes to `folder`, where older ones of that name go once `check` has raised nothing.
    """
    older, clock = set(_traces(folder, name)), _clock(device)
    with profile(
        activities=_activities(device),
        schedule=schedule(wait=WAIT, warmup=WARMUP, active=forwards, repeat=1),
        on_trace_ready=tensorboard_trace_handler(str(folder), worker_name=name),  # the default is the host's name
        record_shapes=True,
    ) as profiler:
        for _ in range(WAIT + WARMUP + forwards):
            clock.measure(call, 1)  # which waits for the device
            profiler.step()
    (path,) = set(_traces(folder, name)) - older
    times = attribute(read_events(path))
    if len(times["cpu"].forwards) != forwards:
        raise RuntimeError(f"the trace has {len(times['cpu'].forwards)} forwards, {forwards} were profiled")
    check(times)
    for old in older:
        old.unlink()
    return path.name, times


def with_and_without(
    labels: Callable[[], AbstractContextManager[Any]], call: Callable[[], object], device: str
) -> tuple[float, float]:
    """Return the seconds of a forward under the profiler and of one without, one right after the other."""
    clock = _clock(device)
    with labels(), profile(activities=_activities(device), record_shapes=True):
        (with_profiler,) = clock.measure(call, 1)
    (without,) = clock.measure(call, 1)
    return with_profiler, without


def _clock(device: str) -> Clock:
    return CudaClock() if device == "cuda" else WallClock()


def _activities(device: str) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])


def _traces(folder: Path, name: str) -> list[Path]:
    return list(folder.glob(f"{name}.*.pt.trace.json"))


def _check(model: AudioSpectrogramTransformer, labels: Labels, times: dict[str, DeviceTimes], forwards: int) -> None:
    """Raise RuntimeError where labels or tokens are not those of the model's plan."""
    removals = model.attached.removals if model.attached else (0,) * len(model.blocks)
    before = model.geometry.num_tokens
    for block, r in enumerate(removals, 1):
        planned, before = (before, before - r), before - r
        seen = labels.tokens.get(block)
        if seen != planned:
            raise RuntimeError(f"block {block}: tokens in and out are {seen}, planned were {planned}")
    wanted = {block: {"attention", "mlp", *(MERGING if r > 0 else ())} for block, r in enumerate(removals, 1)}
    check_stages(times, wanted, forwards, "bench.profiling.stages")


def check_stages(times: dict[str, DeviceTimes], wanted: dict[int, set[str]], forwards: int, module: str) -> None:
    """Raise RuntimeError where a block of a forward has not the labels that `module` was to put there."""
    for forward in range(forwards):
        for block, stages in wanted.items():
            missing = [stage for stage in sorted(stages) if (forward, block, stage) not in times["cpu"].stages]
            if missing:
                where = f"block {block}" if block else "outside of blocks"
                raise RuntimeError(
                    f"{where}: no label {' and '.join(missing)} in the trace; does the model still run that part "
                    f"where {module} looks for it?"
                )
