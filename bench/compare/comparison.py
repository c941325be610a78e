"""Compare two sides, cell by cell: is the second slower than the first, by how much, and can it be chance?

A side is the per-round medians of every cell, seconds. The test is Mann and Whitney's, two-sided; over all cells its
p-values are corrected after Holm. Shapes: `k` rounds of A, `l` rounds of B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench.compare.samples import Sample, Side, Unit, gravest
from bench.compare.statistics import holm, mann_whitney, ratio_of_independent_medians, smallest_p
from bench.sweep.complaints import ConfigError
from fastast.statistics import Estimate

ALPHA = 0.002
"""Largest corrected p-value of a difference."""
THRESHOLD = 0.03
"""Smallest relative difference of medians that counts."""
RowOutcome = Literal["slower", "faster", "same", "too few rounds", "disturbed", "implausible"]
_NOTES: Mapping[RowOutcome, str] = {
    "too few rounds": "have too few rounds to be told apart at all: measure more of them",
    "implausible": "failed a sanity gate on one side: their times are not judged",
    "disturbed": "were disturbed on one side: their times are not judged",
}
"""What is to be kept in mind where cells have an outcome."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell of both sides."""

    cell: str
    title: str
    machine: str
    """Key of the machine; of different ones, both."""
    rounds: tuple[int, int]
    median: tuple[float, float]
    """Of A and B, in `unit`."""
    unit: Unit
    ratio: Estimate
    """Median time of B over that of A: above 1, B is slower."""
    delta: float
    """Cliff's: share of pairs of rounds in which B is slower, less the share in which A is; -1 to 1."""
    p: float
    p_corrected: float
    outcome: RowOutcome


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that is said of two sides."""

    rows: tuple[Row, ...]
    only: tuple[str, ...]
    """Cells of one side only, in words."""
    notes: tuple[str, ...]
    """What to keep in mind."""

    @property
    def slower(self) -> int:
        """How many cells are slower in B."""
        return sum(row.outcome == "slower" for row in self.rows)


def compare_sides(
    a: Side,
    b: Side,
    *,
    allow_different_machines: bool = False,
    alpha: float = ALPHA,
    threshold: float = THRESHOLD,
) -> Comparison:
    """Compare the cells that both sides have. Raises ConfigError where no cell was measured on one machine by both."""
    pairs: list[tuple[str, Sample, Sample]] = [(key[1], a[key], b[key]) for key in a if key in b]
    matched_a, matched_b = {key for key in a if key in b}, {key for key in b if key in a}
    if not pairs:
        machines = [", ".join(sorted({key[0] for key in side})) for side in (a, b)]
        if machines[0] == machines[1]:
            raise ConfigError([f"compare: no cell is in both A ({len(a)} cells) and B ({len(b)} cells)"])
        if not allow_different_machines:
            raise ConfigError(
                [
                    f"compare: A is of {machines[0]}, B of {machines[1]}: times of different machines do not tell code "
                    "apart. Measure both on one machine, or add --allow-different-machines to compare the machines"
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
    corrected = holm([row.p for row in rows])
    judged = tuple(
        replace(row, p_corrected=p, outcome=_judge(row, p, len(rows), alpha, threshold))
        for row, p in zip(rows, corrected, strict=True)
    )
    only = [f"only in A: {a[key].title} ({key[1]}, {key[0]})" for key in a if key not in matched_a]
    only += [f"only in B: {b[key].title} ({key[1]}, {key[0]})" for key in b if key not in matched_b]
    return Comparison(rows=judged, only=tuple(only), notes=_notes(judged, pairs))


def _row(cell: str, a: Sample, b: Sample) -> Row:
    p, delta = mann_whitney(a.rounds, b.rounds)
    scale = 1.0 if a.unit == "ratio" else 1e3
    return Row(
        cell=cell,
        title=a.title if a.batch_size == b.batch_size else f"{a.title} ({a.batch_size} / {b.batch_size})",
        machine=a.machine if a.machine == b.machine else f"DIFFERENT: {a.machine} / {b.machine}",
        rounds=(len(a.rounds), len(b.rounds)),
        median=(float(np.median(a.rounds)) * scale, float(np.median(b.rounds)) * scale),
        unit=a.unit,
        ratio=ratio_of_independent_medians(b.rounds, a.rounds),
        delta=delta,
        p=p,
        p_corrected=1.0,
        outcome=gravest(a.standing, b.standing) or "same",
    )


def _judge(row: Row, p_corrected: float, cells: int, alpha: float, threshold: float) -> RowOutcome:
    if row.outcome != "same":
        return row.outcome
    if p_corrected <= alpha:
        if row.ratio.value > 1 + threshold:
            return "slower"
        if row.ratio.value < 1 / (1 + threshold):
            return "faster"
        return "same"
    return "too few rounds" if smallest_p(row.rounds) * cells > alpha else "same"


def _notes(rows: Sequence[Row], pairs: Sequence[tuple[str, Sample, Sample]]) -> tuple[str, ...]:
    notes = []
    if any(row.machine.startswith("DIFFERENT") for row in rows):
        notes.append("A and B are of different machines: what differs is not the code alone")
    versions = {(a.software, b.software) for _, a, b in pairs if a.software != b.software}
    notes += [f"PyTorch is {one} in A and {two} in B" for one, two in sorted(versions)]
    for outcome, words in _NOTES.items():
        if count := sum(row.outcome == outcome for row in rows):
            notes.append(f"{count} of {len(rows)} cells {words}")
    return tuple(notes)
