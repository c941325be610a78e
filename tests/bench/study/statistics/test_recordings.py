"""Bootstrap over recordings: shares are those of the scenes, weights count both draws."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bench.study.statistics.recordings import precisions_over_recordings, recording_shares
from fastast.data.soundscapes.classes import CLASSES
from fastast.data.soundscapes.pool import catalogue
from fastast.statistics import clip_weights

DATA = {"name": "soundscapes", "options": {"seconds": 5.0, "test_clips": 120, "classes": []}}


def test_a_clip_has_shares_of_the_classes_that_it_is_labelled_with() -> None:
    from fastast.data.soundscapes import load

    shares = recording_shares(DATA)
    labels = load("test", count=120, seconds=5.0).labels
    assert len(shares) == labels.shape[1] == len(CLASSES)
    for column, share in enumerate(shares):
        np.testing.assert_allclose(share.sum(axis=1), labels[:, column])
    leaf = CLASSES.index("Typing")
    assert 1 < shares[leaf].shape[1] <= len(catalogue("test").classes["Typing"])
    later = recording_shares({**DATA, "options": {**DATA["options"], "test_clips": 40, "first_test_clip": 80}})
    for column, share in enumerate(later):
        np.testing.assert_allclose(share.sum(axis=1), labels[80:, column])
    assert recording_shares({"name": "esc50", "options": {}}) == ()


def test_a_replicate_counts_a_positive_as_often_as_both_draws_say() -> None:
    random = np.random.default_rng(0)
    labels = np.zeros((40, 1), np.uint8)
    labels[:12] = 1
    scores = random.random((40, 1))
    share = np.zeros((40, 3))
    share[:4, 0] = share[4:8, 1] = share[8:11, 2] = 1
    share[11, :2] = 0.5
    weights = clip_weights(40, seed=3, replicates=20)
    found = precisions_over_recordings(labels, scores, weights, [share], seed=7)
    draws = np.random.default_rng((7, 0)).multinomial(3, [1 / 3] * 3, size=20)
    for one, drawn, precision in zip(weights, draws, found, strict=True):
        group = np.array([share[clip] @ drawn if labels[clip, 0] else 1 for clip in range(40)])
        if (one * group)[:12].sum():
            expected = average_precision_score(labels[:, 0], scores[:, 0], sample_weight=one * group)
            assert precision == pytest.approx(expected)


def test_recordings_that_a_model_knows_or_does_not_widen_the_interval() -> None:
    """All of a group's clips rank alike: forty clips of it say what one says."""
    random = np.random.default_rng(1)
    labels = np.zeros((400, 1), np.uint8)
    labels[:160] = 1
    share = np.zeros((400, 4))
    for group in range(4):
        share[40 * group : 40 * group + 40, group] = 1
    scores = random.random((400, 1))
    scores[:80] += 2  # two groups of four are found at once
    weights = clip_weights(400, seed=0, replicates=300)
    over_clips = precisions_over_recordings(labels, scores, weights, [share.any(axis=1, keepdims=True) * 1.0], seed=0)
    over_both = precisions_over_recordings(labels, scores, weights, [share], seed=0)
    assert over_both.std() > 3 * over_clips.std()
