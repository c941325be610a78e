"""What a tuning found: a schedule, and how it compares with others."""

from __future__ import annotations

from dataclasses import dataclass

from fastast.statistics import Estimate
from fastast.tuning.explore import Explored
from fastast.tuning.measuring.timing import Counts


@dataclass(frozen=True, kw_only=True)
class TunedRow:
    """A schedule as measured in the final check."""

    name: str
    """`unmerged`, `tuned`, or the family whose best schedule it is."""
    counts: Counts
    """Tokens that each block removes."""
    clips_per_second: Estimate
    """Measured throughput, with its interval over rounds."""
    speedup: Estimate
    """Speed-up over the unmerged model, in the same rounds."""
    metric: Estimate
    """Metric on held-out clips, with its interval over clips."""
    loss: Estimate
    """The unmerged model's metric minus this row's, paired."""
    gain: Estimate | None = None
    """The tuned schedule's metric minus this row's, paired; only for a family."""
    time: Estimate | None = None
    """The tuned schedule's time divided by this row's, in the same rounds; only for a family."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The answer to a question."""

    counts: Counts
    """Tokens that each block should remove."""
    rows: tuple[TunedRow, ...]
    """The unmerged model, the answer, and the fastest schedule of each family that is not faster than the answer."""
    meets: bool
    """Whether the measured speed (within 2 %), or the loss on the calibration clips, meets the target."""
    calibration: Explored
    """The answer as measured on the calibration clips."""
    forecast: float
    """Measured time of a batch divided by the forecast."""
    evaluated: int
    """Number of schedules measured on clips."""
