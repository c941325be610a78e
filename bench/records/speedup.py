"""A candidate against its baselines: the one place where times become ratios.

Shapes: `k` rounds.
"""

from __future__ import annotations

from bench.records.schema import ArmTimes, Performance
from fastast.statistics import Estimate, Floats, ratio_of_medians, round_medians


def clip_seconds(arm: ArmTimes) -> Floats:
    """Return the median seconds per clip of every round, (k,); at their best batches, arms differ in batch size."""
    return round_medians(arm.seconds, arm.iterations_per_round) / arm.batch_size


def speedup_over(part: Performance, baseline: str) -> Estimate:
    """Return the candidate's speed-up over an arm of the same rounds: the baseline's time over its own."""
    return ratio_of_medians(clip_seconds(part.arms[baseline]), clip_seconds(part.arms["candidate"]))
