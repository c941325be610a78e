"""Compare two independent lists of rounds: a test, an effect size, and a ratio with its interval.

Shapes: `k` rounds of A, `l` rounds of B, `r` bootstrap replicates.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike

from fastast.statistics import RATIO_REPLICATES, Estimate, percentile_interval

EXACT_PAIRS = 10_000
"""Largest number of pairs of rounds for which the p-value is exact; with more, or ties, it is an approximation."""


def mann_whitney(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Return the two-sided p-value of Mann and Whitney (1947) and Cliff's (1993) delta.

    Delta is the share of pairs of rounds in which B is larger, minus the share in which A is: -1 to 1.
    """
    from scipy.stats import mannwhitneyu

    ties = len({*a, *b}) < len(a) + len(b)
    exact = not ties and len(a) * len(b) <= EXACT_PAIRS
    test = mannwhitneyu(b, a, alternative="two-sided", method="exact" if exact else "asymptotic")
    return float(test.pvalue), float(2 * test.statistic / (len(a) * len(b)) - 1)


def probability_larger(delta: float) -> float:
    """Return A12 of Vargha and Delaney (2000), the chance that a round of B is larger, a tie counting half."""
    return (delta + 1) / 2


def ratio_of_independent_medians(
    numerator: ArrayLike, denominator: ArrayLike, *, seed: int = 0, replicates: int = RATIO_REPLICATES
) -> Estimate:
    """Return median(numerator) / median(denominator) and its interval; replicates resample each side independently."""
    above, below = np.asarray(numerator), np.asarray(denominator)  # (l,), (k,)
    rng = np.random.default_rng(seed)
    medians = [np.median(rng.choice(side, size=(replicates, side.size)), axis=1) for side in (above, below)]  # (r,)
    low, high = percentile_interval(medians[0] / medians[1])
    return Estimate(value=float(np.median(above) / np.median(below)), low=low, high=high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected after Holm (1979), which bounds the chance of any false alarm among them."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(1, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    corrected = np.empty(len(p_values))
    corrected[order] = stepped
    return [float(p) for p in corrected]


def smallest_p(samples: tuple[int, int]) -> float:
    """Return the smallest two-sided p-value that these numbers of samples can give: all of A before all of B."""
    return min(1.0, 2 / comb(sum(samples), samples[0]))


def samples_needed(cells: int, alpha: float) -> int:
    """Return how many samples each side needs for a difference in one of `cells` cells to be detectable at all."""
    return next(count for count in itertools.count(1) if smallest_p((count, count)) * cells <= alpha)
