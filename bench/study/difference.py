"""How much better one way of training is than another, and how sure that is.

Three things in it are random: the seed of the training, the test clips, and the recordings that they are mixed from.
The interval includes all three: the variance of the seeds' means and that of replicates that draw the same clips, and
recordings where these are known, for both sides, averaged over seeds; and Student's t with the degrees of freedom of
Welch and Satterthwaite.
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

    mine, theirs: (s,) and (z,), mAP seed by seed; replicates: (b,), that difference when other clips are drawn; paired:
    both sides have the same seeds, in one order. Where neither side has a second seed nothing is known of chance in
    training, and the interval is of the clips alone.
    """
    from scipy.stats import norm, t

    seeds, freedom = _of_seeds(mine, theirs, paired=paired)
    clips = float(np.var(replicates, ddof=1))
    tail = 0.5 + CONFIDENCE / 2
    if freedom:
        # Welch and Satterthwaite: the clips' part is known far better than that of a few seeds.
        joint = freedom * ((seeds + clips) / seeds) ** 2 if seeds else math.inf
        half = float(t.ppf(tail, joint)) * math.sqrt(seeds + clips)
    else:
        half = float(norm.ppf(tail)) * math.sqrt(clips)
    mean = float(mine.mean() - theirs.mean())
    return mean, mean - half, mean + half


def _of_seeds(mine: NDArray[np.float64], theirs: NDArray[np.float64], *, paired: bool) -> tuple[float, int]:
    """Return the variance of the difference of means that seeds make, and its degrees of freedom.

    Of other seeds on the two sides, or more of them on one, a seed is taken to vary as much on both (Student's test of
    two samples): so one training is held against several, and no seed is thrown away.
    """
    if paired:
        freedom = len(mine) - 1
        return (float(np.var(mine - theirs, ddof=1)) / len(mine) if freedom else 0.0), freedom
    freedom = len(mine) + len(theirs) - 2
    squares = float(((mine - mine.mean()) ** 2).sum() + ((theirs - theirs.mean()) ** 2).sum())
    return (squares / freedom * (1 / len(mine) + 1 / len(theirs)) if freedom else 0.0), freedom
