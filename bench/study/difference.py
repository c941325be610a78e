"""How much better one way of training is than another, and how sure that is.

Two things in it were decided by chance: the seed of the training, and the clips of the test. The interval has both: the
variance of the seeds' mean and that of the clips (of replicates that draw the same clips for both sides, averaged over
seeds), and Student's t with the degrees of freedom of Welch and Satterthwaite.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastast.statistics import CONFIDENCE


def difference(
    mine: NDArray[np.float64], theirs: NDArray[np.float64], replicates: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the mean difference over seeds and its interval.

    mine, theirs: (s,), mAP seed by seed; replicates: (b,), the mean difference over seeds when other clips are drawn.
    Of one seed nothing is known of chance in training: its interval is of the clips alone.
    """
    from scipy.stats import norm, t

    values = mine - theirs
    count, clips = len(values), float(np.var(replicates, ddof=1))
    tail = 0.5 + CONFIDENCE / 2
    if count > 1:
        seeds = float(np.var(values, ddof=1)) / count
        # Welch and Satterthwaite: the clips' part is known far better than that of a few seeds.
        freedom = (count - 1) * ((seeds + clips) / seeds) ** 2 if seeds else math.inf
        half = float(t.ppf(tail, freedom)) * math.sqrt(seeds + clips)
    else:
        half = float(norm.ppf(tail)) * math.sqrt(clips)
    mean = float(values.mean())
    return mean, mean - half, mean + half
