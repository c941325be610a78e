"""Rows of a profile: operators, blocks and the summary.

All times are per forward pass. They are medians over the profiled ones, because a single interruption would otherwise
be charged to whichever stage it hit. A whole is the sum of the medians of its parts, so that shares add up.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from bench.profiling.by_stage import BlockStageRow, KernelRow, StageRow
from bench.profiling.by_stage import share as _share
from bench.profiling.labels import MERGING, STAGE_OF, STAGES
from bench.profiling.trace import WHOLE, DeviceTimes
from fastast.statistics import ratio_of_medians

_MS = 1e6
"""Nanoseconds in a millisecond."""


@dataclass(frozen=True, kw_only=True)
class OperatorRow:
    """An operator of the CPU or a kernel of the GPU."""

    device: str
    """`cpu` or `cuda`."""
    name: str
    calls: float
    """Calls per forward pass, mean."""
    self_ms: float
    """Milliseconds per forward pass, median, excluding the operators that it calls."""
    share: float | None
    """Share of the self time of all rows of the device."""


@dataclass(frozen=True, kw_only=True)
class BlockRow:
    """A block; times are milliseconds, medians over forward passes, and the total is their sum."""

    device: str
    """`cpu`: time on the host; `cuda`: sum of the kernels that the block launched."""
    block: int
    """Counted from 1."""
    tokens_in: int
    tokens_out: int
    attention_ms: float
    plan_ms: float
    """Comparing tokens and choosing which ones merge."""
    merge_ms: float
    """Averaging tokens; on the engine, including the residual sum and the norm, which share the kernel."""
    mlp_ms: float
    other_ms: float
    """The remainder of the block: norms and residuals. On the engine, the last norm is that of the next block."""
    total_ms: float
    merging_share: float | None
    """Share of plan and merge in the total."""


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """Summary of an arm on a device."""

    arm: str
    """`candidate`, `unmerged` or, on the engine, `slice`."""
    ran: str
    """`plain`, `triton`, or `triton_interpreter`, whose times are meaningless."""
    device: str
    forwards: int
    """Number of profiled forward passes."""
    batch_size: int
    forward_ms: float
    """Milliseconds of the labelled forward, median; on `cuda`, the sum of its kernels."""
    blocks_ms: float
    """Sum of the blocks' totals, milliseconds."""
    merging_ms: float
    merging_share: float | None
    """Share of plan and merge in the time of all blocks, median over forward passes."""
    merging_share_low: float | None
    """Smallest such share of any forward pass."""
    merging_share_high: float | None
    """Largest such share of any forward pass."""
    merging_share_of_forward: float | None
    plan_share: float | None
    """Share of plan alone: on the engine, merging is between this and `merging_share`."""
    profiled_ms: float
    """Milliseconds of a forward under the profiler, median, by the clock that times cells."""
    unprofiled_ms: float
    """Milliseconds of the same forward without profiler and labels, median; alternates with the profiled one."""
    profiler_overhead: float
    """Ratio of the two."""
    overhead_low: float
    """Lower end of the ratio's bootstrap interval."""
    overhead_high: float
    """Upper end of the ratio's bootstrap interval."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The profile of one arm: all its tables."""

    arm: str
    trace: str
    """File name of the trace."""
    operators: tuple[OperatorRow, ...]
    blocks: tuple[BlockRow, ...]
    summary: tuple[SummaryRow, ...]
    stages: tuple[StageRow, ...]
    block_stages: tuple[BlockStageRow, ...]
    kernels: tuple[KernelRow, ...] = ()
    """Kernels of the GPU: first those of the eager forward, then those of the captured graph, if there is one."""
    note: str = ""
    """What a reader must know about how the arm ran; usually empty."""


def without_shares(profile: Profile) -> Profile:
    """Return a profile with empty shares, for Triton's interpreter, whose times say nothing about a GPU."""

    def cut(rows: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(replace(row, **{f.name: None for f in fields(row) if "share" in f.name}) for row in rows)

    return replace(
        profile,
        operators=cut(profile.operators),
        blocks=cut(profile.blocks),
        summary=cut(profile.summary),
        stages=cut(profile.stages),
        block_stages=cut(profile.block_stages),
        kernels=(),
    )


def operator_rows(times: Mapping[str, DeviceTimes]) -> tuple[OperatorRow, ...]:
    """Return the operators of every device, the longest first."""
    rows: list[OperatorRow] = []
    for device, part in times.items():
        own = {name: statistics.median(map(sum, calls)) for name, calls in part.operators.items()}
        everything = sum(own.values())
        for name in sorted(own, key=lambda name: (-own[name], name)):
            rows.append(
                OperatorRow(
                    device=device,
                    name=name,
                    calls=sum(map(len, part.operators[name])) / len(part.forwards),
                    self_ms=own[name] / _MS,
                    share=_share(own[name], everything),
                )
            )
    return tuple(rows)


def block_rows(times: Mapping[str, DeviceTimes], tokens: Mapping[int, tuple[int, int]]) -> tuple[BlockRow, ...]:
    """Return the blocks of every device; `tokens` are those that enter and leave each."""
    rows = []
    for device, part in times.items():
        for block, (tokens_in, tokens_out) in sorted(tokens.items()):
            parts = {f"{stage}_ms": statistics.median(values) / _MS for stage, values in _split(part, block).items()}
            total = sum(parts.values())
            rows.append(
                BlockRow(
                    device=device,
                    block=block,
                    tokens_in=tokens_in,
                    tokens_out=tokens_out,
                    total_ms=total,
                    merging_share=_share(sum(parts[f"{stage}_ms"] for stage in MERGING), total),
                    **parts,
                )
            )
    return tuple(rows)


def _split(times: DeviceTimes, block: int) -> dict[str, list[int]]:
    """Return the nanoseconds of every stage of a block in every forward, what is left of it as `other`."""
    forwards = range(len(times.forwards))
    split = {part: [0 for _ in forwards] for part in STAGES}
    for (i, of_block, stage), value in times.stages.items():
        if of_block == block and stage in STAGE_OF:
            split[STAGE_OF[stage]][i] += value
    rest = [times.stages.get((i, block, WHOLE), 0) - sum(values[i] for values in split.values()) for i in forwards]
    return split | {"other": rest}


def summary_rows(
    arm: str,
    times: Mapping[str, DeviceTimes],
    blocks: Sequence[BlockRow],
    *,
    batch_size: int,
    seconds: Sequence[tuple[float, float]],
    ran: str = "plain",
) -> tuple[SummaryRow, ...]:
    """Return the sum of every device; `seconds` are pairs of a forward under the profiler and one without."""
    profiled, unprofiled = ([pair[side] for pair in seconds] for side in (0, 1))
    overhead = ratio_of_medians(profiled, unprofiled)
    rows = []
    for device, part in times.items():
        own = [row for row in blocks if row.device == device]
        total, merging = sum(row.total_ms for row in own), sum(row.plan_ms + row.merge_ms for row in own)
        forward = statistics.median(part.forwards) / _MS
        shares = [_share_of_blocks(part, i, MERGING) for i in range(len(part.forwards))]
        rows.append(
            SummaryRow(
                arm=arm,
                ran=ran,
                device=device,
                forwards=len(part.forwards),
                batch_size=batch_size,
                forward_ms=forward,
                blocks_ms=total,
                merging_ms=merging,
                merging_share=statistics.median(shares),
                merging_share_low=min(shares),
                merging_share_high=max(shares),
                merging_share_of_forward=_share(merging, forward),
                plan_share=statistics.median(_share_of_blocks(part, i, ("plan",)) for i in range(len(part.forwards))),
                profiled_ms=statistics.median(profiled) * 1000,
                unprofiled_ms=statistics.median(unprofiled) * 1000,
                profiler_overhead=overhead.value,
                overhead_low=overhead.low,
                overhead_high=overhead.high,
            )
        )
    return tuple(rows)


def _share_of_blocks(times: DeviceTimes, forward: int, parts: Sequence[str]) -> float:
    """Return the share of some parts in the blocks of one forward."""
    own = {key[1:]: value for key, value in times.stages.items() if key[0] == forward}
    whole = sum(value for (_, stage), value in own.items() if stage == WHOLE)
    return _share(sum(value for (_, stage), value in own.items() if STAGE_OF.get(stage) in parts), whole)
