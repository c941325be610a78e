"""What a comparison found, cell by cell and as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.compare.samples import Unit
from fastast.statistics import Estimate

RowOutcome = Literal[
    "slower", "slower with all arms", "faster", "same", "broken", "failed", "disturbed", "too few samples"
]
"""`broken`: B failed, A did not. `failed`: A did."""
SLOWER: tuple[RowOutcome, ...] = ("slower", "slower with all arms")
JUDGED: tuple[RowOutcome, ...] = (*SLOWER, "faster", "same")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell of both sides."""

    cell: str
    title: str
    machine: str
    """Key of the machine; of different ones, both."""
    samples: tuple[int, int]
    """Rounds or launches of A and B; 0 of a side that has no times."""
    median: tuple[float, float]
    """Of A and B, in `unit`; NaN without times."""
    unit: Unit
    ratio: Estimate
    """Median time of B over that of A: above 1, B is slower."""
    relative: Estimate | None
    """The same of their ratios to an arm of the same rounds; None where it is not judged by them."""
    delta: float
    """Cliff's: share of pairs of times in which B is slower, less the share in which A is; -1 to 1."""
    p: float
    """Of times and ratios, the larger."""
    p_times: float
    """Of times alone."""
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
        """How many cells are slower in B, alone or with all their arms."""
        return self.count(*SLOWER)

    @property
    def broken(self) -> int:
        """How many cells work in A and not in B."""
        return self.count("broken")

    @property
    def judged(self) -> int:
        """How many cells something can be said of."""
        return self.count(*JUDGED)

    @property
    def exit_code(self) -> int:
        """1 where a cell is slower or broken in B, 3 where none could be judged, 0 otherwise."""
        return 1 if self.slower or self.broken else 0 if self.judged else 3

    def count(self, *outcomes: RowOutcome) -> int:
        """Return how many cells have one of these outcomes."""
        return sum(row.outcome in outcomes for row in self.rows)
