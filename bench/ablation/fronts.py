"""Compare methods at equal speed and at equal loss, each along its front, with straight lines between measured points.

Shapes: `p` points of a front, by increasing gain; `b` bootstrap replicates.

A *gain* is a speed-up, or a ratio of multiply-accumulates; the unmerged model has gain 1. A front begins there or, for
merging at another stride, at that stride alone: nothing lies between two strides. Points that another point of the same
method dominates, by their values, are not on its front. In every replicate all points are computed from other clips,
the same for all, and from other rounds, so that interpolated values have intervals, and so have differences of two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.ablation.evidence import Configuration, Evidence
from fastast.statistics import Estimate, Floats, basic_interval, percentile_interval

_ANY = 1e9
"""Stands for a gain beyond everything that was measured."""
Gain = Callable[[Configuration], Evidence | None]


def by_speed(one: Configuration) -> Evidence | None:
    """Return the speed-up over the unmerged model."""
    return one.speedup


def by_macs(one: Configuration) -> Evidence | None:
    """Return the ratio of multiply-accumulates, as one replicate, as it is the same in all."""
    if one.macs_ratio is None:
        return None
    return Evidence(value=one.macs_ratio, replicates=np.full(1, one.macs_ratio))


@dataclass(frozen=True, kw_only=True)
class Front:
    """Quality of one method against its gain, as measured and in every replicate."""

    unmerged: Evidence
    """Quality of the unmerged model, from which losses are counted."""
    gain: Floats
    """Gains, (p,), increasing from 1 (the unmerged model) or from where the front begins."""
    quality: Floats
    """Qualities at these gains, (p,)."""
    gain_replicates: Floats
    """Gains in every replicate, (b, p)."""
    quality_replicates: Floats
    """Qualities in every replicate, (b, p)."""

    @property
    def least(self) -> float:
        """The smallest gain: 1, or that of the point at which the front begins."""
        return float(self.gain[0])

    @property
    def measured(self) -> int:
        """Number of points other than the unmerged model."""
        return len(self.gain) - (self.least == 1)

    @property
    def most(self) -> float:
        """The largest gain that was measured."""
        return float(self.gain[-1])

    def at(self, gain: float) -> Evidence | None:
        """Return the quality at a gain; None below the smallest and above the largest one that was measured."""
        if not self.least <= gain <= self.most:
            return None
        return self._each(lambda x, y, _: float(np.interp(gain, x, y)))

    def within(self, loss: float) -> Evidence | None:
        """Return the largest gain at which the quality is at most `loss` below the unmerged model's.

        None if the whole front loses less: the gain is then at least the largest that was measured. 1 if all of it
        loses more: only the unmerged model loses so little.
        """
        least, most = self.bounds_within(loss)
        return least if least.value == most.value else None

    def bounds_within(self, loss: float) -> tuple[Evidence, Evidence]:
        """Return the least and the greatest value that this gain can have.

        They differ if the front, or that of a replicate, stays within the loss as far as it was measured.
        """
        most = self._each(lambda x, y, unmerged: _crossing(x, unmerged - y, loss))
        measured = self.gain_replicates.max(axis=1)
        return Evidence(value=min(most.value, self.most), replicates=np.minimum(most.replicates, measured)), most

    def area(self, most: float) -> Evidence | None:
        """Return the mean quality over gains from 1 to `most`; None if the front does not span them."""
        if self.least > 1 or most > self.most or most <= 1:
            return None
        return self._each(lambda x, y, _: _mean(x, y, most))

    def _each(self, function: Callable[[Floats, Floats, float], float]) -> Evidence:
        """Apply a function to the front as measured and to that of every replicate, whose points are sorted anew.

        function: takes gains, qualities and the quality of the unmerged model.
        """
        values = []
        base = self.unmerged
        for x, y, own in zip(self.gain_replicates, self.quality_replicates, base.replicates, strict=True):
            order = np.argsort(x, kind="stable")
            values.append(function(x[order], y[order], float(own)))
        return Evidence(value=function(self.gain, self.quality, base.value), replicates=np.array(values))


def front_of(
    points: Sequence[Configuration], unmerged: Configuration, gain: Gain = by_speed, *, anchored: bool = True
) -> Front | None:
    """Return the front of a method's points, beginning at the unmerged model if it is `anchored` there.

    None if no point with a quality has a gain above 1.
    """
    assert unmerged.quality is not None
    count = len(unmerged.quality.replicates)
    known = [(g, one.quality) for one in points if (g := gain(one)) is not None and one.quality is not None]
    known = [(g, quality) for g, quality in known if g.value > 1]  # slower than without the method: no gain
    if not known:
        return None
    kept = [pair for pair in known if not any(_beats(other, pair) for other in known)]
    kept.sort(key=lambda pair: pair[0].value)
    start = [(Evidence(value=1.0, replicates=np.ones(count)), unmerged.quality)] if anchored else []
    gains, qualities = zip(*start, *kept, strict=True)
    return Front(
        unmerged=unmerged.quality,
        gain=np.array([one.value for one in gains]),
        quality=np.array([one.value for one in qualities]),
        gain_replicates=np.stack([np.broadcast_to(one.replicates, count) for one in gains], axis=1),
        quality_replicates=np.stack([one.replicates for one in qualities], axis=1),
    )


def estimate(one: Evidence) -> Estimate:
    """Return a quality, or a difference of two, with its interval over clips and rounds."""
    low, high = basic_interval(one.value, one.replicates)
    return Estimate(value=one.value, low=min(low, one.value), high=max(high, one.value))


def estimate_gain(one: Evidence) -> Estimate:
    """Return a gain, or a difference of two, with its percentile interval.

    Gains at a loss are never below 1 and skewed to the right; the basic interval, mirrored at the value, would be
    skewed to the left.
    """
    low, high = percentile_interval(one.replicates)
    return Estimate(value=one.value, low=min(low, one.value), high=max(high, one.value))


def minus(mine: Evidence, theirs: Evidence) -> Evidence:
    """Return the paired difference of two."""
    return Evidence(value=mine.value - theirs.value, replicates=mine.replicates - theirs.replicates)


def _beats(mine: tuple[Evidence, Evidence], theirs: tuple[Evidence, Evidence]) -> bool:
    pairs = [(a.value, b.value) for a, b in zip(mine, theirs, strict=True)]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _crossing(x: Floats, loss: Floats, allowed: float) -> float:
    """Return the gain at which the loss first exceeds what is allowed: `_ANY` if it never does, 1 if it always does."""
    over = np.flatnonzero(loss > allowed)
    if not len(over):
        return _ANY
    i = int(over[0])
    if i == 0:
        return 1.0
    share = (allowed - loss[i - 1]) / (loss[i] - loss[i - 1])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))


def _mean(x: Floats, y: Floats, most: float) -> float:
    inside = (x > 1) & (x < most)
    at = np.concatenate([[1.0], x[inside], [most]])
    return float(np.trapezoid(np.interp(at, x, y), at) / (most - 1))
