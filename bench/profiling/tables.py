"""Rows of a profile: operators, blocks and the sum, as data and as CSV files.

All times are of one forward: medians over the profiled ones, because a machine that is interrupted once would otherwise
put its pause into some stage. Parts are medians and a whole is the sum of its parts, so that shares add up.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bench.profiling.labels import MERGING, STAGES
from bench.profiling.trace import WHOLE, DeviceTimes
from bench.statistics import ratio_of_medians

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
    share: float
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
    """Averaging them."""
    mlp_ms: float
    other_ms: float
    """Norms and residuals: what is left of the block."""
    total_ms: float
    merging_share: float
    """Plan and merge, of the total."""


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """An arm on a device."""

    arm: str
    """`candidate` or `unmerged`."""
    device: str
    forwards: int
    """That were profiled."""
    batch_size: int
    forward_ms: float
    """Of the labelled forward, median, milliseconds; on `cuda` the sum of its kernels."""
    blocks_ms: float
    """Sum of the blocks' totals, milliseconds."""
    merging_ms: float
    merging_share: float
    """Of plans and merges in all blocks together, median of the forwards."""
    merging_share_low: float
    """The smallest in one forward."""
    merging_share_high: float
    """The largest in one forward."""
    merging_share_of_forward: float
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
    split = {stage: [times.stages.get((i, block, stage), 0) for i in forwards] for stage in STAGES}
    rest = [times.stages.get((i, block, WHOLE), 0) - sum(values[i] for values in split.values()) for i in forwards]
    return split | {"other": rest}


def summary_rows(
    arm: str,
    times: Mapping[str, DeviceTimes],
    blocks: Sequence[BlockRow],
    *,
    batch_size: int,
    seconds: Sequence[tuple[float, float]],
) -> tuple[SummaryRow, ...]:
    """Return the sum of every device; `seconds` are pairs of a forward under the profiler and one without."""
    profiled, unprofiled = ([pair[side] for pair in seconds] for side in (0, 1))
    overhead = ratio_of_medians(profiled, unprofiled)
    rows = []
    for device, part in times.items():
        own = [row for row in blocks if row.device == device]
        total, merging = sum(row.total_ms for row in own), sum(row.plan_ms + row.merge_ms for row in own)
        forward = statistics.median(part.forwards) / _MS
        shares = [_merging_share(part, i) for i in range(len(part.forwards))]
        rows.append(
            SummaryRow(
                arm=arm,
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
                profiled_ms=statistics.median(profiled) * 1000,
                unprofiled_ms=statistics.median(unprofiled) * 1000,
                profiler_overhead=overhead.value,
                overhead_low=overhead.low,
                overhead_high=overhead.high,
            )
        )
    return tuple(rows)


def _merging_share(times: DeviceTimes, forward: int) -> float:
    """Return the share of merging in the blocks of one forward."""
    whole = sum(value for (i, _, stage), value in times.stages.items() if i == forward and stage == WHOLE)
    merging = sum(value for (i, _, stage), value in times.stages.items() if i == forward and stage in MERGING)
    return _share(merging, whole)


def write_tables(folder: Path, profiles: Iterable[Profile]) -> list[Path]:
    """Write `summary.csv` to a cell's folder, `operators.csv` and `blocks.csv` to those of its arms; return them."""
    written: list[Path] = []
    summary: list[SummaryRow] = []
    for profile in profiles:
        summary += profile.summary
        written += [
            _write(folder / profile.arm / "operators.csv", OperatorRow, profile.operators),
            _write(folder / profile.arm / "blocks.csv", BlockRow, profile.blocks),
        ]
    return [_write(folder / "summary.csv", SummaryRow, summary), *written]


def _write(path: Path, kind: type, rows: Sequence[OperatorRow | BlockRow | SummaryRow]) -> Path:
    names = [field.name for field in fields(kind)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            values = (getattr(row, name) for name in names)
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values])
    return path


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
