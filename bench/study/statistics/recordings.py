"""Bootstrap over recordings as well as clips: which recordings test clips contain, and replicates that draw both.

Clips are mixed from a few recordings of every sound, so many clips repeat each other: other recordings might give
another difference, which a bootstrap over clips alone cannot know. Here a replicate draws clips and, for every class,
groups of its recordings (those of one place or instrument); the weight of a clip as a positive of the class is how
often it was drawn times how often its groups were. Clips without the class keep the weight of their own draw: what else
is in them is not resampled.

Shapes: `k` clips, `c` classes, `g` groups of recordings of one class, `b` replicates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.understanding.sounding import scene_recipes
from fastast.data.soundscapes.classes import CLASSES, with_parents
from fastast.data.soundscapes.pool import catalogue
from fastast.metrics import average_precisions, macro_mean

_PARTS = 840
"""Denominator of weights, which must be whole numbers: a clip's sounds of a class may come from up to eight groups."""
_SPLIT = "test"


def recording_shares(data: Mapping[str, Any]) -> tuple[NDArray[np.float64], ...]:
    """Return for every class the share of each group of recordings in a clip's sounds of it, (k, g); 0 without sounds.

    data: the data of a recipe, as in its question. Empty for a data set whose recordings are not known.
    """
    if data["name"] != "soundscapes":
        return ()
    options = data["options"]
    first = options.get("first_test_clip", 0)  # missing in older recipes
    clips = range(first, first + options["test_clips"])
    return _shares(options["seconds"], clips, tuple(options["classes"] or CLASSES))


@cache
def _shares(seconds: float, clips: range, classes: tuple[str, ...]) -> tuple[NDArray[np.float64], ...]:
    """Return the shares of a test set, planning its scenes once for all trainings that are tested on them."""
    group_of = {
        source: (name, group)  # a group is of one leaf class
        for name, groups in catalogue(_SPLIT).classes.items()
        for group, sources in groups.items()
        for source in sources
    }
    scenes = scene_recipes(_SPLIT, seconds, clips)
    of_clip = [{group_of[event.source] for event in scene.events} for scene in scenes]
    above = {leaf: with_parents({leaf}) for leaf, _ in group_of.values()}
    found = []
    for name in classes:
        groups = sorted({group for group in group_of.values() if name in above[group[0]]})
        has = np.array([[group in one for group in groups] for one in of_clip], dtype=np.float64)  # (k, g)
        has = has[:, has.any(axis=0)]
        found.append(has / np.maximum(1, has.sum(axis=1, keepdims=True)))
    return tuple(found)


def precisions_over_recordings(
    labels: NDArray[np.generic],
    scores: NDArray[np.floating],
    weights: NDArray[np.int64],
    shares: Sequence[NDArray[np.float64]],
    *,
    seed: int,
) -> NDArray[np.float64]:
    """Return the macro mean average precision of every replicate, (b,).

    labels, scores: (k, c). weights: (b, k), how often a replicate draws each clip. shares: as returned by
    `recording_shares`. The same `seed` draws the same recordings, so that replicates of two models are paired. For a
    class with one group of recordings, only clips are drawn. A replicate leaves out classes without a positive in it.
    """
    found = []
    for column, share in enumerate(shares):
        count = share.shape[1]
        each = weights * _PARTS
        if count > 1:
            draws = np.random.default_rng((seed, column)).multinomial(count, [1 / count] * count, size=len(weights))
            positive = share.any(axis=1)  # (k,)
            each[:, positive] = np.rint(weights[:, positive] * (draws @ share[positive].T) * _PARTS).astype(np.int64)
        found.append(average_precisions(labels[:, [column]], scores[:, [column]], each))  # (b, 1)
    return macro_mean(np.hstack(found))
