"""Turn logits into scores, as the loss that a model was trained with requires.

Shapes: `n` clips, `c` classes.

A model trained with cross-entropy says which of its classes a clip belongs to: softmax. A model trained with binary
cross-entropy says for every class whether it is present: sigmoid. The weights do not reveal which of the two it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fastast.names import unknown_name

Loss = Literal["bce", "ce"]
"""Binary cross-entropy (a clip has any number of labels), or cross-entropy (it has one)."""
Activation = Literal["sigmoid", "softmax"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
ACTIVATIONS: dict[Loss, Activation] = {"bce": "sigmoid", "ce": "softmax"}
"""Activation that turns a model's logits into scores, by its loss."""


def known_loss(value: object) -> Loss | None:
    """Return the loss that a file states, None where it states none. Raises ValueError for an unknown one."""
    for loss in LOSSES:
        if value == loss:
            return loss
    if value is not None:
        raise ValueError(f"loss is {value!r}; it must be one of {', '.join(LOSSES)}")
    return None


def loss_in_notes(training: Mapping[str, Any] | None) -> object:
    """Return the loss of the recipe in a file's notes on training, None without one."""
    recipe = (training or {}).get("recipe")
    return recipe.get("loss") if isinstance(recipe, Mapping) else None


def activation_of(loss: Loss | None, asked: str = "") -> Activation:
    """Return the activation for a model's logits: `asked` where given, else by its loss, sigmoid for an unknown one.

    Raises ValueError for an unknown name.
    """
    for activation in ACTIVATIONS.values():
        if asked == activation:
            return activation
    if asked:
        raise ValueError(unknown_name("activation", asked, ACTIVATIONS.values()))
    return "sigmoid" if loss is None else ACTIVATIONS[loss]


def to_scores(logits: NDArray[np.floating], activation: Activation) -> NDArray[np.floating]:
    """Return the scores, in [0, 1], of logits (n, c), in the dtype of the logits."""
    from scipy.special import expit, softmax

    return expit(logits) if activation == "sigmoid" else softmax(logits, axis=-1)


def to_ranking(logits: NDArray[np.floating], activation: Activation) -> NDArray[np.float64]:
    """Return values that rank clips and classes as the scores of logits (n, c) do, but that do not saturate.

    For a sigmoid, these are the logits themselves; for a softmax, which depends on all logits of a clip, its logarithm.
    """
    from scipy.special import log_softmax

    values = np.asarray(logits, dtype=np.float64)
    return values if activation == "sigmoid" else np.asarray(log_softmax(values, axis=-1), dtype=np.float64)
