"""The findings of a comparison, cell by cell and as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.compare.samples import Unit
from fastast.statistics import Estimate

RowOutcome = Literal[
    "slower", "slower with all arms", "faster", "same", "broken", "failed", "disturbed", "too few samples"
]
"""`broken`: B failed and A did not. `failed`: A failed."""
SLOWER: tuple[RowOutcome, ...] = ("slower", "slower with all arms")
JUDGED: tuple[RowOutcome, ...] = (*SLOWER, "faster", "same")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell of both sides."""

    cell: str
    title: str
    machine: str
    """Key of the machine, or both keys if they differ."""
    samples: tuple[int, int]
    """Number of rounds or launches of A and B; 0 for a side without times."""
    median: tuple[float, float]
    """Medians of A and B, in `unit`; NaN without times."""
    unit: Unit
    ratio: Estimate
    """Median time of B over that of A: above 1, B is slower."""
    relative: Estimate | None
    """The same for their ratios to an arm of the same rounds; None where the cell is not judged by ratios."""
    delta: float
    """Cliff's delta: share of pairs of times in which B is slower, minus the share in which A is; -1 to 1."""
    p: float
    """The larger of the p-values of times and ratios."""
    p_times: float
    """The p-value of times alone."""
    p_corrected: float
    outcome: RowOutcome


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that was found about two sides."""

    rows: tuple[Row, ...]
    only: tuple[str, ...]
    """Cells that only one side has, in words."""
    notes: tuple[str, ...]
    """What to keep in mind."""

    @property
    def slower(self) -> int:
        """Number of cells that are slower in B, alone or with all their arms."""
        return self.count(*SLOWER)

    @property
    def broken(self) -> int:
        """Number of cells that work in A and not in B."""
        return self.count("broken")

    @property
    def judged(self) -> int:
        """Number of cells that could be judged."""
        return self.count(*JUDGED)

    @property
    def exit_code(self) -> int:
        """1 where a cell is slower or broken in B, 3 where none could be judged, 0 otherwise."""
        return 1 if self.slower or self.broken else 0 if self.judged else 3

    def count(self, *outcomes: RowOutcome) -> int:
        """Return the number of cells with one of these outcomes."""
        return sum(row.outcome in outcomes for row in self.rows)
