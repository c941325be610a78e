"""Running a call under PyTorch's profiler: its trace file, the times in it, and the tables made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, schedule, tensorboard_trace_handler

from bench.profiling.by_stage import block_stage_rows, kernel_rows, stage_rows
from bench.profiling.tables import Profile, block_rows, operator_rows, summary_rows
from bench.profiling.trace import DeviceTimes, attribute, read_events
from fastast.system.clocks import Clock, CudaClock, WallClock

WAIT, WARMUP = 1, 2
"""Forward passes before the profiler starts, and those that it discards as its own warm-up."""


def record(
    call: Callable[[], object],
    name: str,
    folder: Path,
    forwards: int,
    device: str,
    *,
    check: Callable[[dict[str, DeviceTimes]], None],
) -> tuple[str, dict[str, DeviceTimes]]:
    """Run `call` under the profiler; return the name of the trace of the last `forwards` calls, and its times.

    The trace is written to `folder`. Older ones of that name are deleted only after `check` has accepted the times.
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


def with_and_without(labelled: Callable[[], object], call: Callable[[], object], device: str) -> tuple[float, float]:
    """Time a labelled forward under the profiler and, right after it, a plain one without; return both in seconds."""
    clock = _clock(device)
    with profile(activities=_activities(device), record_shapes=True):
        (with_profiler,) = clock.measure(labelled, 1)
    (without,) = clock.measure(call, 1)
    return with_profiler, without


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


def check_stages(times: dict[str, DeviceTimes], wanted: dict[int, set[str]], forwards: int, module: str) -> None:
    """Raise RuntimeError where a block lacks labels that `module` should have put there."""
    for forward in range(forwards):
        for block, stages in wanted.items():
            missing = [stage for stage in sorted(stages) if (forward, block, stage) not in times["cpu"].stages]
            if missing:
                where = f"block {block}" if block else "outside of blocks"
                raise RuntimeError(
                    f"{where}: no label {' and '.join(missing)} in the trace; does the model still run that part "
                    f"where {module} looks for it?"
                )


def _clock(device: str) -> Clock:
    return CudaClock() if device == "cuda" else WallClock()


def _activities(device: str) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])


def _traces(folder: Path, name: str) -> list[Path]:
    return list(folder.glob(f"{name}.*.pt.trace.json"))
