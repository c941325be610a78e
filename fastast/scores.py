"""From logits to scores, by the loss that a model was trained with.

Shapes: `n` clips, `c` classes.

A model that was trained with cross-entropy says which of its classes a clip is: softmax. One that was trained with
binary cross-entropy says of every class whether it is there: sigmoid. Nothing in the weights tells which it was.
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
"""What turns the logits of a model into its scores, by its loss."""


def known_loss(value: object) -> Loss | None:
    """Return what a file says of its loss, None where it says nothing. Raises ValueError for another one."""
    for loss in LOSSES:
        if value == loss:
            return loss
    if value is not None:
        raise ValueError(f"loss is {value!r}; it must be one of {', '.join(LOSSES)}")
    return None


def loss_in_notes(training: Mapping[str, Any] | None) -> object:
    """Return the loss of the recipe in a file's notes on training, None where they have none."""
    recipe = (training or {}).get("recipe")
    return recipe.get("loss") if isinstance(recipe, Mapping) else None


def activation_of(loss: Loss | None, asked: str = "") -> Activation:
    """Return what turns a model's logits into scores: what is `asked` for, else by its loss, sigmoid where not known.

    Raises ValueError for another name.
    """
    for activation in ACTIVATIONS.values():
        if asked == activation:
            return activation
    if asked:
        raise ValueError(unknown_name("activation", asked, ACTIVATIONS.values()))
    return "sigmoid" if loss is None else ACTIVATIONS[loss]


def to_scores(logits: NDArray[np.floating], activation: Activation) -> NDArray[np.floating]:
    """Return scores in [0, 1] of logits (n, c), in their type."""
    from scipy.special import expit, softmax

    return expit(logits) if activation == "sigmoid" else softmax(logits, axis=-1)


def to_ranking(logits: NDArray[np.floating], activation: Activation) -> NDArray[np.float64]:
    """Return what orders clips and classes as the scores of logits (n, c) do, without their saturation.

    Of a sigmoid that is the logits themselves; a softmax depends on all logits of a clip: its logarithm.
    """
    from scipy.special import log_softmax

    values = np.asarray(logits, dtype=np.float64)
    return values if activation == "sigmoid" else np.asarray(log_softmax(values, axis=-1), dtype=np.float64)
