"""FastAST's own model without reduction, and with one that costs nothing."""

from __future__ import annotations

import copy

from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import Schedule


def unmerged(model: AudioSpectrogramTransformer) -> AudioSpectrogramTransformer:
    """Return a model that shares all weights with `model` and has no reduction."""
    twin = copy.copy(model)
    twin.attached = None
    twin.attention_kernel = "auto"
    return twin


def sliced(model: AudioSpectrogramTransformer, schedule: Schedule) -> AudioSpectrogramTransformer:
    """Return a model that shares all weights with `model` and drops the tokens of `schedule` for free."""
    twin = unmerged(model)
    reduce(twin, slicing(schedule))
    return twin


def slicing(schedule: Schedule) -> TokenReduction:
    """Return the oracle as a reduction: the same number of tokens as any method with this schedule, for free."""
    return TokenReduction(schedule=schedule, method="slice", proportional=False)
