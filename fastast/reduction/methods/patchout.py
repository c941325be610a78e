"""Structured patchout at inference: whole columns or rows of the patch grid are dropped (PaSST, Koutini et al. 2022,
arXiv 2110.05069).

PaSST drops random rows and columns of the input during training. Here the order of the lines is drawn once for all
blocks, and every block continues where the previous one stopped, within a line from the last token to the first, so
that all remaining lines but one are whole. To drop at the input, as PaSST does, use `place = "before"` and a schedule
that removes in the first block alone, such as `first:15`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from fastast.reduction.choosing.dropping import drop_lowest
from fastast.reduction.needs import need_protected_prefix
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, reduction_method
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class PatchoutOptions:
    """Which lines are dropped."""

    axis: Literal["time", "frequency", "both"] = "time"
    """What is dropped: columns (time), rows (frequency), or both in one random order."""


def _limit(shape: BlockShape, options: PatchoutOptions) -> int:
    need_protected_prefix(shape, "patchout")
    return shape.num_free


@reduction_method(
    "patchout",
    label="patchout",
    options=PatchoutOptions,
    limit=_limit,
    keeps_order=True,
    random=True,
    at_input=True,
)
def patchout(tokens: BlockTokens, r: int, options: PatchoutOptions) -> MergePlan:
    """Drop `r` tokens in whole columns or rows of the spectrogram, in an order drawn from the seed alone."""
    rows, columns = tokens.shape.grid
    first = tokens.num_protected
    drawn = tokens.draw(rows + columns, block=0)  # (rows + columns,)
    frequency, time = tokens.places[:, first:].long().unbind(-1)  # (b, free) each
    by_row, by_column = drawn[frequency], drawn[rows + time]
    if options.axis == "both":
        score = torch.minimum(by_row, by_column)
    else:
        score = by_column if options.axis == "time" else by_row
    return drop_lowest(torch.nn.functional.pad(score, (first, 0)), r, num_protected=first)


METHOD = patchout
