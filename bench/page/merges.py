"""Which tokens merge where, for every method and r: pairs per block, and what the model then hears.

A merge is never undone, so a clip's whole history is a list of pairs per block, at most `n`: the first original token
of a group that joins another, and that of the group it joins; -1 where its tokens are dropped.
Shapes: `n` original tokens, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from fastast.model import AudioSpectrogramTransformer
    from fastast.reduction import TokenReduction

METHODS = ("tome", "pitome", "tofu", "local", "adjacent", "pool", "topk", "evit", "random")
"""Methods on the page, each with the constant schedule."""
SHOWN = ("tome", "pitome", "topk")
"""Methods that are shown at first."""
REMOVED = (5, 10, 15, 20, 25, 30, 35, 40, 45)
"""Tokens removed per block."""
TOP = 3
"""Number of labels that are shown of a prediction."""


def merge_histories(
    model: AudioSpectrogramTransformer,
    fbank: Tensor,
    *,
    methods: Sequence[str] = METHODS,
    removed: Sequence[int] = REMOVED,
) -> list[dict[str, Any]]:
    """Return, for every method and r, the `pairs` per block and the `heard` labels, or `why` it cannot run.

    `fbank`: one clip (1, f, m). The model is left as it was.
    """
    from fastast.reduction import ReductionError, TokenReduction, get_method
    from fastast.schedule import Constant

    found = []
    for name in methods:
        runs: list[dict[str, Any]] = []
        for r in removed:
            try:
                run = _history(model, fbank, TokenReduction(method=name, schedule=Constant(r)))
            except ReductionError as error:
                run = {"why": str(error)}
            runs.append({"r": r} | run)
        known = get_method(name)
        found.append({"method": name, "label": known.label, "summary": known.summary, "runs": runs})
    return found


def _history(model: AudioSpectrogramTransformer, fbank: Tensor, reduction: TokenReduction) -> dict[str, Any]:
    import torch

    from fastast.hosts import reduce
    from fastast.reduction import MergeTrace

    trace = MergeTrace()
    with reduce(model, reduction), torch.inference_mode():
        tokens = model.forward_features(fbank, trace)  # (1, n', d)
        logits = model.head((tokens[:, 0] + tokens[:, 1]) / 2)  # (1, c)
    return {"pairs": block_pairs([source[0].numpy() for source in trace.source]), "heard": _heard(model, logits)}


def unmerged_labels(model: AudioSpectrogramTransformer, fbank: Tensor) -> list[tuple[str, float]]:
    """Return what the model hears without merging, best first."""
    import torch

    with torch.inference_mode():
        return _heard(model, model(fbank))


def _heard(model: AudioSpectrogramTransformer, logits: Tensor) -> list[tuple[str, float]]:
    from fastast.scores import activation_of, to_scores

    scores = to_scores(logits.float().numpy(), activation_of(model.loss))[0]  # (c,)
    labels = model.labels or tuple(f"class {i}" for i in range(len(scores)))
    return [(labels[i], round(float(scores[i]), 3)) for i in np.argsort(-scores, kind="stable")[:TOP]]


def block_pairs(sources: Sequence[NDArray[np.integer]]) -> list[list[int]]:
    """Return the pairs of every block, flat, from the source maps after each: (n,) slot of every original token.

    Raises ValueError where tokens that shared a slot are apart later, or dropped ones return: no trace is like that.
    """
    found = []
    before = np.arange(len(sources[0])) if len(sources) else np.empty(0, np.int64)  # (n,) first of its group
    for source in sources:
        after = _first_of_group(source)  # (n,)
        kept = before >= 0
        if (after[before[kept]] != after[kept]).any() or (after[~kept] >= 0).any():
            raise ValueError("page: tokens that had merged are apart again")
        heads = np.flatnonzero((before == np.arange(len(before))) & (after != before))
        found.append([int(value) for head in heads for value in (head, after[head])])
        before = after
    return found


def _first_of_group(source: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the first original token that shares each one's slot, (n,) -> (n,); -1 for a dropped one."""
    _, places, back = np.unique(source, return_index=True, return_inverse=True)
    return np.where(source < 0, -1, places[back]).astype(np.int64)
