"""Rows of a profile by label and by kernel: all stages of a forward, and what ran on the GPU.

All times are of one forward, medians over the profiled ones.
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
"""What of a forward has no label of its own."""


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """A stage of all blocks together."""

    device: str
    """`cpu` is the time on the host, `cuda` the sum of the kernels that were launched there."""
    stage: str
    calls: float
    """Labels in a forward, on `cuda` kernels; empty for `other`."""
    ms: float
    """Median over forwards, milliseconds, without stages inside it."""
    share: float | None
    """Of the sum of all rows of the device; empty where times mean nothing."""
    floor_ms: float | None = None
    """The least that its kernels could take on this GPU, milliseconds; empty where nobody counted."""


@dataclass(frozen=True, kw_only=True)
class BlockStageRow:
    """A stage of one block; the fields are those of `StageRow`."""

    device: str
    block: int
    """Counted from 1; 0 is outside of blocks."""
    stage: str
    calls: float
    ms: float
    share: float | None


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """A kernel of the GPU, copies included."""

    ran: Literal["eagerly", "graph"]
    """Each kernel launched by itself, or all by the replay of a captured CUDA graph: that is what cells time."""
    name: str
    stages: str
    """The stages that launched it; empty in a graph, which does not tell."""
    calls: float
    """In a forward, mean over forwards."""
    ms: float
    """In a forward, median over forwards, milliseconds."""
    share: float
    """Of the GPU time of all kernels that ran so."""
    floor_ms: float | None = None
    """The least that its launches in a forward could take on this GPU, milliseconds; empty where nobody counted."""


def block_stage_rows(times: Mapping[str, DeviceTimes]) -> tuple[BlockStageRow, ...]:
    """Return the stages of every block as they come in a block, what is outside of blocks first."""
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
    """Return the sums over blocks, in the order in which stages come first."""
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
    """Return the kernels of a GPU, the longest first; nothing without one."""
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
    """Return `part` of `whole`, 0 where there is nothing."""
    return part / whole if whole else 0.0
