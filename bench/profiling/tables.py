"""Rows of a profile: operators, blocks and the sum.

All times are of one forward: medians over the profiled ones, because a machine that is interrupted once would otherwise
put its pause into some stage. Parts are medians and a whole is the sum of its parts, so that shares add up.
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
    """Calls in a forward, mean over forwards."""
    self_ms: float
    """Time in a forward without that of the operators it calls, median over forwards, milliseconds."""
    share: float | None
    """Of the self time of all rows of the device."""


@dataclass(frozen=True, kw_only=True)
class BlockRow:
    """A block; times are milliseconds, each the median over forwards, and the total is their sum."""

    device: str
    """`cpu` is the time on the host, `cuda` the sum of the kernels that were launched there."""
    block: int
    """Counted from 1."""
    tokens_in: int
    tokens_out: int
    attention_ms: float
    plan_ms: float
    """Comparing tokens and choosing which merge."""
    merge_ms: float
    """Averaging them; on the engine with the residual sum and the norm that are in the same kernel."""
    mlp_ms: float
    other_ms: float
    """Norms and residuals: what is left of the block. On the engine the last is the norm before the next block."""
    total_ms: float
    merging_share: float | None
    """Plan and merge, of the total."""


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """An arm on a device."""

    arm: str
    """`candidate`, `unmerged` or, on the engine, `slice`."""
    ran: str
    """`plain`, `triton`, or `triton_interpreter`, in which times mean nothing."""
    device: str
    forwards: int
    """That were profiled."""
    batch_size: int
    forward_ms: float
    """Of the labelled forward, median, milliseconds; on `cuda` the sum of its kernels."""
    blocks_ms: float
    """Sum of the blocks' totals, milliseconds."""
    merging_ms: float
    merging_share: float | None
    """Of plans and merges in all blocks together, median of the forwards."""
    merging_share_low: float | None
    """The smallest in one forward."""
    merging_share_high: float | None
    """The largest in one forward."""
    merging_share_of_forward: float | None
    plan_share: float | None
    """Of plans alone: on the engine, merging is at least this and at most `merging_share`."""
    profiled_ms: float
    """Median of a forward under the profiler, by the clock that cells are timed with."""
    unprofiled_ms: float
    """Median of the same forward without profiler and labels, in turn with it in the same process."""
    profiler_overhead: float
    """Ratio of the two."""
    overhead_low: float
    """Lower end of its bootstrap interval."""
    overhead_high: float
    """Upper end."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What the profile of one arm gave."""

    arm: str
    trace: str
    """Name of the trace's file."""
    operators: tuple[OperatorRow, ...]
    blocks: tuple[BlockRow, ...]
    summary: tuple[SummaryRow, ...]
    stages: tuple[StageRow, ...]
    block_stages: tuple[BlockStageRow, ...]
    kernels: tuple[KernelRow, ...] = ()
    """Of the GPU: as they ran eagerly, and behind them those of a captured graph where there is one."""
    note: str = ""
    """What a reader must know of how it ran; empty where nothing is special."""


def without_shares(profile: Profile) -> Profile:
    """Return a profile whose shares are empty: for Triton's interpreter, whose times say nothing of a GPU."""

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
