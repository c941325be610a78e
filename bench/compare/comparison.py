"""Compare two sides, cell by cell: is the second slower than the first, by how much, and could that be chance?

A side holds the per-round medians of every cell, in seconds, and their ratios to an arm of the same rounds, if there is
one. A process is a few per cent faster or slower than another for all its life, and all its rounds share that: a cell
is slower only if both its times and its ratios say so, or if its times alone differ by more than processes do. The test
is the two-sided one of Mann and Whitney; its p-values are corrected after Holm over all cells that are judged.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from bench.compare.found import Comparison, Row, RowOutcome
from bench.compare.notes import notes
from bench.compare.samples import FAILED, Sample, Side, gravest
from bench.compare.statistics import holm, mann_whitney, ratio_of_independent_medians, smallest_p
from bench.sweep.complaints import ConfigError
from fastast.statistics import Estimate

ALPHA = 0.002
"""Largest corrected p-value at which a difference counts."""
THRESHOLD = 0.03
"""Smallest relative difference of medians that counts."""
ALL_ARMS = 0.25
"""Smallest that counts in times alone, where ratios show none: more than processes of one machine differ by."""
_UNKNOWN = Estimate(value=math.nan, low=math.nan, high=math.nan)


def compare_sides(
    a: Side,
    b: Side,
    *,
    allow_different_machines: bool = False,
    alpha: float = ALPHA,
    threshold: float = THRESHOLD,
) -> Comparison:
    """Compare the cells that both sides have. Raises ConfigError where they share no cell, or none of one machine."""
    pairs: list[tuple[str, Sample, Sample]] = [(key[1], a[key], b[key]) for key in a if key in b]
    matched_a, matched_b = {key for key in a if key in b}, {key for key in b if key in a}
    if not pairs:
        machines = [", ".join(sorted({key[0] for key in side})) for side in (a, b)]
        if machines[0] == machines[1]:
            raise ConfigError([f"compare: no cell is in both A ({len(a)} cells) and B ({len(b)} cells)"])
        if not allow_different_machines:
            raise ConfigError(
                [
                    f"compare: A is of {machines[0]}, B of {machines[1]}: times of different machines say nothing "
                    "about code. Measure both on one machine, or add --allow-different-machines to compare the machines"
                ]
            )
        by_cell = {key[1]: key for key in b}
        for key in a:
            if key[1] in by_cell:
                pairs.append((key[1], a[key], b[by_cell[key[1]]]))
                matched_a.add(key)
                matched_b.add(by_cell[key[1]])
        if not pairs:
            raise ConfigError([f"compare: no cell is in both A ({len(a)} cells) and B ({len(b)} cells)"])
    rows = [_row(cell, one, two) for cell, one, two in pairs]
    open_rows = [i for i, row in enumerate(rows) if row.outcome == "same"]
    corrected, of_times = (holm([getattr(rows[i], name) for i in open_rows]) for name in ("p", "p_times"))
    for i, p, p_times in zip(open_rows, corrected, of_times, strict=True):
        outcome = _judge(rows[i], p, len(open_rows), alpha, threshold)
        if outcome == "same" and p_times <= alpha and _is_slower_with_all_arms(rows[i]):
            outcome = "slower with all arms"
        rows[i] = replace(rows[i], p_corrected=p, outcome=outcome)
    only = [f"only in A: {a[key].title} ({key[1]}, {key[0]})" for key in a if key not in matched_a]
    only += [f"only in B: {b[key].title} ({key[1]}, {key[0]})" for key in b if key not in matched_b]
    return Comparison(rows=tuple(rows), only=tuple(only), notes=notes(rows, pairs, alpha=alpha))


def _row(cell: str, a: Sample, b: Sample) -> Row:
    is_timed = bool(a.rounds and b.rounds)
    p_times, delta = mann_whitney(a.rounds, b.rounds) if is_timed else (1.0, math.nan)
    p, relative = p_times, None
    if is_timed and a.relative and b.relative:
        p = max(p, mann_whitney(a.relative, b.relative)[0])
        relative = ratio_of_independent_medians(b.relative, a.relative)
    scale = 1.0 if "ratio" in (a.unit, b.unit) else 1e3
    medians = [float(np.median(side.rounds)) * scale if side.rounds else math.nan for side in (a, b)]
    return Row(
        cell=cell,
        title=a.title if a.batch_size == b.batch_size else f"{a.title} ({a.batch_size} / {b.batch_size})",
        machine=a.machine if a.machine == b.machine else f"DIFFERENT: {a.machine} / {b.machine}",
        samples=(len(a.rounds), len(b.rounds)),
        median=(medians[0], medians[1]),
        unit=(a if a.rounds else b).unit,
        ratio=ratio_of_independent_medians(b.rounds, a.rounds) if is_timed else _UNKNOWN,
        relative=relative,
        delta=delta,
        p=p,
        p_times=p_times,
        p_corrected=1.0,
        outcome=_outcome_of_standings(a, b),
    )


def _outcome_of_standings(a: Sample, b: Sample) -> RowOutcome:
    """Return the outcome of a cell that is not judged by its times; `same` where it is."""
    if a.standing in FAILED:
        return "failed"
    if b.standing in FAILED:
        return "broken"
    return "disturbed" if gravest(a.standing, b.standing) else "same"


def _judge(row: Row, p_corrected: float, cells: int, alpha: float, threshold: float) -> RowOutcome:
    if p_corrected > alpha:
        return "too few samples" if smallest_p(row.samples) * cells > alpha else "same"
    ratios = [one.value for one in (row.ratio, row.relative) if one is not None]
    if min(ratios) > 1 + threshold:
        return "slower"
    return "faster" if max(ratios) < 1 / (1 + threshold) else "same"


def _is_slower_with_all_arms(row: Row) -> bool:
    """Return whether a cell that is also judged by ratios takes longer on one machine by more than processes differ.

    Where its ratios are as before, something slows all arms alike, such as attention or the front end.
    """
    return row.relative is not None and row.ratio.value > 1 + ALL_ARMS and not row.machine.startswith("DIFFERENT")
