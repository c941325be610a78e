"""Compare two sides, cell by cell: is the second slower than the first, by how much, and can it be chance?

A side is the per-round medians of every cell, seconds. The test is Mann and Whitney's, two-sided; over all cells its
p-values are corrected after Holm. Shapes: `k` rounds of A, `l` rounds of B, `r` bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.statistics import RATIO_REPLICATES, Estimate, percentile_interval, round_medians
from bench.sweep import ConfigError

if TYPE_CHECKING:
    from bench.records import Record

ALPHA = 0.002
"""Largest corrected p-value of a difference."""
THRESHOLD = 0.03
"""Smallest relative difference of medians that counts."""
EXACT_PAIRS = 10_000
"""Up to so many pairs of rounds the p-value is exact, above it is the normal approximation."""
Outcome = Literal["slower", "faster", "same", "too few rounds"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one side measured of one cell."""

    title: str
    """The cell in one short line."""
    machine: str
    """Key of the machine."""
    rounds: tuple[float, ...]
    """Median of every round, seconds; or its ratio to that of another arm."""
    unit: Literal["ms", "ratio"] = "ms"
    """What medians are shown in."""
    software: str = ""
    """Version of PyTorch."""


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
    unit: Literal["ms", "ratio"]
    ratio: Estimate
    """Median time of B over that of A: above 1, B is slower."""
    delta: float
    """Cliff's: share of pairs of rounds in which B is slower, less the share in which A is; -1 to 1."""
    p: float
    p_corrected: float
    outcome: Outcome


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


Side = Mapping[tuple[str, str], Sample]
"""Samples by machine and cell."""


def load_side(folder: Path, relative_to: str | None = None) -> dict[tuple[str, str], Sample]:
    """Read the performance cells of a folder; the rounds of several records of a cell are put together.

    `relative_to` divides by an arm of the same rounds, which takes the machine's drift away, and with it whatever slows
    both. Raises ConfigError for a folder without such cells, RecordError for a bad record.
    """
    from bench.store import read_records

    if not folder.is_dir():
        raise ConfigError([f"{folder}: neither a folder nor a git revision; give two of the one or two of the other"])
    found: dict[tuple[str, str], Sample] = {}
    for record in read_records(folder):
        if record.performance is None or (relative_to is not None and relative_to not in record.performance.arms):
            continue
        sample = _sample(record, relative_to)
        key = (sample.machine, record.cell.id)
        before = found[key].rounds if key in found else ()
        found[key] = replace(sample, rounds=before + sample.rounds)
    if not found:
        arm = f" with the arm {relative_to!r}" if relative_to else ""
        raise ConfigError([f"{folder}: has no record of a performance cell{arm}; run a sweep with --results {folder}"])
    return found


def _sample(record: Record, relative_to: str | None) -> Sample:
    assert record.performance is not None
    arms = record.performance.arms
    rounds = round_medians(arms["candidate"].seconds, arms["candidate"].iterations_per_round)
    if relative_to is not None:
        rounds = rounds / round_medians(arms[relative_to].seconds, arms[relative_to].iterations_per_round)
    question = record.cell.question
    reduction = question.get("reduction") or {}
    what = " ".join(str(reduction[name]) for name in ("method", "schedule") if name in reduction) or "unmerged"
    model = record.model.name if record.model else ""
    batch = question["workload"].get("batch_size")
    title = " ".join(filter(None, (model, what, f"batch {batch}", question.get("dtype"))))
    return Sample(
        title=title,
        machine=record.machine.key,
        rounds=tuple(map(float, rounds)),
        unit="ratio" if relative_to else "ms",
        software=record.software.torch,
    )


def compare(
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
    from scipy.stats import mannwhitneyu

    ties = len({*a.rounds, *b.rounds}) < len(a.rounds) + len(b.rounds)
    exact = not ties and len(a.rounds) * len(b.rounds) <= EXACT_PAIRS
    test = mannwhitneyu(b.rounds, a.rounds, alternative="two-sided", method="exact" if exact else "asymptotic")
    scale = 1e3 if a.unit == "ms" else 1.0
    return Row(
        cell=cell,
        title=a.title,
        machine=a.machine if a.machine == b.machine else f"DIFFERENT: {a.machine} / {b.machine}",
        rounds=(len(a.rounds), len(b.rounds)),
        median=(float(np.median(a.rounds)) * scale, float(np.median(b.rounds)) * scale),
        unit=a.unit,
        ratio=ratio_of_independent_medians(b.rounds, a.rounds),
        delta=float(2 * test.statistic / (len(a.rounds) * len(b.rounds)) - 1),
        p=float(test.pvalue),
        p_corrected=1.0,
        outcome="same",
    )


def ratio_of_independent_medians(
    numerator: Sequence[float], denominator: Sequence[float], *, seed: int = 0, replicates: int = RATIO_REPLICATES
) -> Estimate:
    """Return median(numerator) / median(denominator) and its interval; a replicate draws each side by itself."""
    above, below = np.asarray(numerator), np.asarray(denominator)  # (l,), (k,)
    rng = np.random.default_rng(seed)
    medians = [np.median(rng.choice(side, size=(replicates, side.size)), axis=1) for side in (above, below)]  # (r,)
    low, high = percentile_interval(medians[0] / medians[1])
    return Estimate(value=float(np.median(above) / np.median(below)), low=low, high=high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected after Holm (1979): the chance of one false alarm among all of them."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(1, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    corrected = np.empty(len(p_values))
    corrected[order] = stepped
    return [float(p) for p in corrected]


def smallest_p(rounds: tuple[int, int]) -> float:
    """Return the smallest two-sided p-value that so many rounds can give: all of A before all of B."""
    return min(1.0, 2 / comb(sum(rounds), rounds[0]))


def _judge(row: Row, p_corrected: float, cells: int, alpha: float, threshold: float) -> Outcome:
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
    few = sum(row.outcome == "too few rounds" for row in rows)
    if few:
        notes.append(f"{few} of {len(rows)} cells have too few rounds to be told apart at all: measure more of them")
    return tuple(notes)


def table(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one dictionary a cell, for CSV and tables; slowest first."""
    return [
        {
            "cell": row.cell,
            "what": row.title,
            "machine": row.machine,
            "rounds_a": row.rounds[0],
            "rounds_b": row.rounds[1],
            "median_a": row.median[0],
            "median_b": row.median[1],
            "unit": row.unit,
            "ratio": row.ratio.value,
            "ratio_low": row.ratio.low,
            "ratio_high": row.ratio.high,
            "cliffs_delta": row.delta,
            "p": row.p,
            "p_holm": row.p_corrected,
            "outcome": row.outcome,
        }
        for row in sorted(comparison.rows, key=lambda row: -row.ratio.value)
    ]
