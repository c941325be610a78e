"""Rows of a profile by stage and by kernel: every labelled stage of a forward pass, and every kernel of the GPU.

All times are per forward pass: medians over the profiled ones.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.profiling.labels import OUTSIDE
from bench.profiling.trace import WHOLE, DeviceTimes

_MS = 1e6
"""Nanoseconds in a millisecond."""
REST = "other"
"""Stage that stands for the unlabelled remainder of a forward pass."""


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """A stage, summed over all blocks."""

    device: str
    """`cpu`: time on the host; `cuda`: sum of the kernels that the stage launched."""
    stage: str
    calls: float
    """Labels per forward pass, or kernels on `cuda`; 0 for `other`."""
    ms: float
    """Milliseconds, median over forward passes, excluding nested stages."""
    share: float | None
    """Share of the sum of all rows of the device; empty where times are meaningless."""
    floor_ms: float | None = None
    """Lower bound in milliseconds for its kernels on this GPU (roofline); empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class BlockStageRow:
    """A stage of one block; fields as in `StageRow`."""

    device: str
    block: int
    """Counted from 1; 0 is outside the blocks."""
    stage: str
    calls: float
    ms: float
    share: float | None


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """A kernel of the GPU, copies included."""

    ran: Literal["eagerly", "graph"]
    """Whether each kernel was launched individually, or all by replaying a captured CUDA graph, which cells time."""
    name: str
    stages: str
    """The stages that launched it; empty for a graph, whose trace does not say."""
    calls: float
    """Calls per forward pass, mean."""
    ms: float
    """Milliseconds per forward pass, median."""
    share: float
    """Share of the GPU time of all kernels with the same `ran`."""
    floor_ms: float | None = None
    """Lower bound in milliseconds per forward pass on this GPU (roofline); empty where there is none."""


def block_stage_rows(times: Mapping[str, DeviceTimes]) -> tuple[BlockStageRow, ...]:
    """Return the stages of every block in execution order, starting with those outside the blocks."""
    rows: list[BlockStageRow] = []
    for device, part in times.items():
        forwards = range(len(part.forwards))
        order = {key[1:]: None for key in part.stages if key[2] != WHOLE}  # a dict keeps the order
        found = []
        for block, stage in sorted(order, key=lambda key: key[0]):
            values = [part.stages.get((i, block, stage), 0) for i in forwards]
            calls = sum(part.stage_calls.get((i, block, stage), 0) for i in forwards) / len(forwards)
            found.append((block, stage, calls, statistics.median(values) / _MS))
        rest = [part.forwards[i] - _labelled(part, i) for i in forwards]
        found.append((OUTSIDE, REST, 0.0, statistics.median(rest) / _MS))
        whole = sum(ms for *_, ms in found)
        rows += [
            BlockStageRow(device=device, block=block, stage=stage, calls=calls, ms=ms, share=share(ms, whole))
            for block, stage, calls, ms in found
        ]
    return tuple(rows)


def stage_rows(rows: tuple[BlockStageRow, ...]) -> tuple[StageRow, ...]:
    """Return the sums over blocks, ordered by the first occurrence of each stage."""
    sums: dict[tuple[str, str], list[BlockStageRow]] = {}
    for row in rows:
        sums.setdefault((row.device, row.stage), []).append(row)
    return tuple(
        StageRow(
            device=device,
            stage=stage,
            calls=sum(row.calls for row in of_stage),
            ms=sum(row.ms for row in of_stage),
            share=sum(row.share or 0.0 for row in of_stage),
        )
        for (device, stage), of_stage in sums.items()
    )


def kernel_rows(times: Mapping[str, DeviceTimes], ran: Literal["eagerly", "graph"]) -> tuple[KernelRow, ...]:
    """Return the kernels of the GPU, slowest first; empty without a GPU."""
    part = times.get("cuda")
    if part is None:
        return ()
    own = {name: statistics.median(map(sum, calls)) for name, calls in part.operators.items()}
    whole = sum(own.values())
    return tuple(
        KernelRow(
            ran=ran,
            name=name,
            stages="; ".join(sorted(part.stages_of.get(name, ()))),
            calls=sum(map(len, part.operators[name])) / len(part.forwards),
            ms=own[name] / _MS,
            share=share(own[name], whole),
        )
        for name in sorted(own, key=lambda name: (-own[name], name))
    )


def _labelled(times: DeviceTimes, forward: int) -> int:
    return sum(value for (i, _, stage), value in times.stages.items() if i == forward and stage != WHOLE)


def share(part: float, whole: float) -> float:
    """Return `part / whole`, or 0 where `whole` is 0."""
    return part / whole if whole else 0.0
