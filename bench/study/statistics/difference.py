"""Compute how much better one way of training is than another, and how certain that is.

Three things in a difference are random: the training seed, the test clips, and the recordings that they are mixed from.
Its interval includes all three. The variance is that of the means over seeds plus that of bootstrap replicates,
averaged over seeds, which draw the same clips, and recordings where these are known, for both sides; Student's t has
the degrees of freedom of Welch and Satterthwaite.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastast.statistics import CONFIDENCE


def difference(
    mine: NDArray[np.float64], theirs: NDArray[np.float64], replicates: NDArray[np.float64], *, paired: bool
) -> tuple[float, float, float]:
    """Return the difference of two means over seeds and its interval.

    mine, theirs: (s,) and (z,), mAP of every seed. replicates: (b,), that difference in every bootstrap replicate.
    paired: whether both sides have the same seeds, in the same order. If neither side has a second seed, nothing is
    known about chance in training, and the interval covers only what the replicates draw.
    """
    from scipy.stats import norm, t

    seeds, freedom = _of_seeds(mine, theirs, paired=paired)
    clips = float(np.var(replicates, ddof=1))
    tail = 0.5 + CONFIDENCE / 2
    if freedom:
        # Welch and Satterthwaite: the clips' variance is known far better than that of a few seeds.
        joint = freedom * ((seeds + clips) / seeds) ** 2 if seeds else math.inf
        half = float(t.ppf(tail, joint)) * math.sqrt(seeds + clips)
    else:
        half = float(norm.ppf(tail)) * math.sqrt(clips)
    mean = float(mine.mean() - theirs.mean())
    return mean, mean - half, mean + half


def _of_seeds(mine: NDArray[np.float64], theirs: NDArray[np.float64], *, paired: bool) -> tuple[float, int]:
    """Return the variance of the difference of means that is due to seeds, and its degrees of freedom.

    If the two sides have different seeds, both are assumed to vary equally from seed to seed (Student's two-sample
    test), so that one training can be compared with several and no seed is thrown away.
    """
    if paired:
        freedom = len(mine) - 1
        return (float(np.var(mine - theirs, ddof=1)) / len(mine) if freedom else 0.0), freedom
    freedom = len(mine) + len(theirs) - 2
    squares = float(((mine - mine.mean()) ** 2).sum() + ((theirs - theirs.mean()) ** 2).sum())
    return (squares / freedom * (1 / len(mine) + 1 / len(theirs)) if freedom else 0.0), freedom
