"""What runs in the process of a profiled cell: its candidate and the unmerged model, one after the other.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, schedule, tensorboard_trace_handler

from bench import baselines
from bench.cells import Cell
from bench.machine import default_threads
from bench.performance import synthetic_input
from bench.profiling.labels import MERGING
from bench.profiling.stages import Labels, labelled
from bench.profiling.tables import Profile, block_rows, operator_rows, summary_rows
from bench.profiling.trace import DeviceTimes, attribute, read_events
from bench.sweep import ConfigError
from bench.timing import Clock, CudaClock, WallClock
from bench.worker import build_model
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import reduce

WAIT, WARMUP = 1, 2
"""Forwards before the profiler runs, and those that it runs for but forgets."""


def profile_cell(cell: Cell, folder: Path, forwards: int) -> tuple[Profile, ...]:
    """Profile a cell's candidate and the unmerged model over the same weights and input.

    Traces go to a folder for each arm below `folder`. Of the unmerged cell there is only `unmerged`.
    """
    if cell.batch_size == "best":
        raise ConfigError(["profile: this cell searches its batch size; give one, such as -s grid.batch_size=[8]"])
    if cell.model.engine != "plain":
        raise ConfigError(
            [
                f"profile: the stages of the engine '{cell.model.engine}' cannot be told apart yet; "
                "-s model.engine=plain profiles the model's own forward"
            ]
        )
    torch.set_num_threads(cell.measure.threads or default_threads())
    model = build_model(cell.model, seed=cell.seed).to(cell.device, getattr(torch, cell.dtype)).eval()
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
    clock: Clock = CudaClock() if device == "cuda" else WallClock()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    call = partial(model, fbank)
    older = set(_traces(folder, name))
    with labelled(model) as labels:
        _record(call, name, folder, forwards, clock, activities)
    (path,) = set(_traces(folder, name)) - older
    times = attribute(read_events(path), len(model.blocks))
    _check(model, labels, times, forwards)
    for old in older:
        old.unlink()
    seconds = [_with_and_without(model, call, clock, activities) for _ in range(forwards)]
    blocks = block_rows(times, labels.tokens)
    return Profile(
        arm=name,
        trace=path.name,
        operators=operator_rows(times),
        blocks=blocks,
        summary=summary_rows(name, times, blocks, batch_size=fbank.shape[0], seconds=seconds),
    )


def _record(
    call: Callable[[], object],
    name: str,
    folder: Path,
    forwards: int,
    clock: Clock,
    activities: list[ProfilerActivity],
) -> None:
    """Run `call` under the profiler and write the trace of the last `forwards` calls to `folder`."""
    with profile(
        activities=activities,
        schedule=schedule(wait=WAIT, warmup=WARMUP, active=forwards, repeat=1),
        on_trace_ready=tensorboard_trace_handler(str(folder), worker_name=name),  # the default is the host's name
        record_shapes=True,
    ) as profiler:
        for _ in range(WAIT + WARMUP + forwards):
            clock.measure(call, 1)  # which waits for the device
            profiler.step()


def _with_and_without(
    model: AudioSpectrogramTransformer, call: Callable[[], object], clock: Clock, activities: list[ProfilerActivity]
) -> tuple[float, float]:
    """Return the seconds of a forward under the profiler and of one without, one right after the other."""
    with labelled(model), profile(activities=activities, record_shapes=True):
        (with_profiler,) = clock.measure(call, 1)
    (without,) = clock.measure(call, 1)
    return with_profiler, without


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
    if len(times["cpu"].forwards) != forwards:
        raise RuntimeError(f"the trace has {len(times['cpu'].forwards)} forwards, {forwards} were profiled")
    for forward in range(forwards):
        for block, r in enumerate(removals, 1):
            wanted = {"attention", "mlp", *(MERGING if r > 0 else ())}
            missing = [stage for stage in sorted(wanted) if (forward, block, stage) not in times["cpu"].stages]
            if missing:
                raise RuntimeError(
                    f"block {block}: no label {' and '.join(missing)} in the trace; does the model still run that part "
                    "where bench.profiling.stages looks for it?"
                )
