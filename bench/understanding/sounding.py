"""Find where something sounds in a scene, from the recipe by which it was mixed.

Shapes: `c` clips, `t'` patches along time.
"""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastast.data.soundscapes.mixing import SAMPLE_RATE, ClipRecipe, plan
from fastast.data.soundscapes.pool import FIRST_SEED, catalogue
from fastast.geometry import Geometry

HOP_S = 0.01
"""Seconds between frames of the filterbank."""


def scene_recipes(split: str, seconds: float, clips: range) -> list[ClipRecipe]:
    """Return the recipes by which these clips of a split are mixed."""
    sources = catalogue(split)
    return [plan(RandomState(FIRST_SEED[split] + index), sources, seconds) for index in clips]


def sounding(recipes: list[ClipRecipe], geometry: Geometry) -> NDArray[np.bool_]:
    """Return whether an event sounds at any time in a column of patches, (c, t').

    An event is a sound shorter than the clip; a bed that fills all of it makes no part louder. A patch is `patch_size`
    frames long, and one begins every `tstride` frames.
    """
    _, columns = geometry.encoder.grid
    begin = np.arange(columns) * geometry.tstride * HOP_S  # (t',) seconds
    end = begin + geometry.patch_size * HOP_S
    found = np.zeros((len(recipes), columns), dtype=bool)
    for clip, recipe in enumerate(recipes):
        for event in recipe.events:
            if event.length < recipe.samples:
                first, last = event.start / SAMPLE_RATE, (event.start + event.length) / SAMPLE_RATE
                found[clip] |= (begin < last) & (end > first)
    return found
