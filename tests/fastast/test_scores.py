"""Scores follow the loss, and what ranks them does not saturate."""

from __future__ import annotations

import numpy as np
import pytest

from fastast.scores import activation_of, to_ranking, to_scores

LOGITS = np.array([[5.0, 4.0, -9.0], [0.0, 0.0, 0.0]], np.float32)


def test_a_loss_says_what_scores_are_unless_asked() -> None:
    assert activation_of("ce") == "softmax"
    assert activation_of("bce") == activation_of(None) == "sigmoid"
    assert activation_of("ce", "sigmoid") == "sigmoid"
    with pytest.raises(ValueError, match="unknown activation 'softmx'. Did you mean 'softmax'"):
        activation_of(None, "softmx")


def test_scores_are_those_of_the_formulas() -> None:
    exponents = np.exp(LOGITS.astype(float))
    softmax, sigmoid = to_scores(LOGITS, "softmax"), to_scores(LOGITS, "sigmoid")
    np.testing.assert_allclose(softmax, exponents / exponents.sum(1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(sigmoid, exponents / (1 + exponents), rtol=1e-6)
    assert softmax.dtype == sigmoid.dtype == np.float32


def test_a_ranking_is_that_of_the_scores_where_they_tie() -> None:
    far = np.array([[30.0, 0.0], [31.0, 0.0], [32.0, 0.0]], np.float32)
    for activation in ("sigmoid", "softmax"):
        assert len(np.unique(to_scores(far, activation)[:, 0])) == 1
        assert np.all(np.diff(to_ranking(far, activation)[:, 0]) > 0)


def test_a_softmax_ranks_clips_by_all_of_their_logits() -> None:
    """The larger logit is the less sure one: another class of its clip has a larger one yet."""
    logits = np.array([[2.0, 9.0], [1.0, -9.0]], np.float32)
    assert np.argmax(to_ranking(logits, "sigmoid")[:, 0]) == 0
    assert np.argmax(to_ranking(logits, "softmax")[:, 0]) == 1
