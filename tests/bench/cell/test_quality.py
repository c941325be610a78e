"""Metrics against scikit-learn and hand computations; features exact and computed once."""

from __future__ import annotations

import dataclasses
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.cell import quality
from bench.sweep.config import DataConfig
from fastast import create_model
from fastast.data import soundscapes
from fastast.frontend import Frontend, Normalisation
from fastast.metrics import measure_scores


def multi_label(clips: int = 80, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = (generator.random((clips, classes)) < 0.25).astype(np.uint8)
    labels[:, 2] = 0
    scores = (generator.random((clips, classes)) * 0.7 + 0.3 * labels).astype(np.float16)
    return labels, scores


def test_the_interval_contains_the_metric_and_shrinks_with_more_clips():
    few, many = multi_label(40), multi_label(1000)
    widths = []
    for labels, scores in (few, many):
        low, high = quality.map_interval(labels, scores, seed=0)
        assert low < measure_scores(labels, scores).mAP < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_a_model_does_not_differ_from_itself_and_a_paired_difference_is_narrower_than_an_interval():
    labels, scores = multi_label(200)
    same = quality.compare(labels, scores, scores, against="x", seed=0)
    assert (same.mAP, same.interval, same.top1_agreement, same.largest_score_difference) == (0, (0, 0), 1, 0)
    noise = np.random.default_rng(1).normal(0, 0.02, scores.shape)
    near = (scores + noise).astype(np.float16)
    delta = quality.compare(labels, near, scores, against="x", seed=0)
    expected = measure_scores(labels, near).mAP - measure_scores(labels, scores).mAP
    assert delta.mAP == pytest.approx(expected)
    low, high = quality.map_interval(labels, near, seed=0)
    assert delta.interval[1] - delta.interval[0] < (high - low) / 2
    assert delta.largest_score_difference == pytest.approx(np.abs(near.astype(float) - scores).max())


def test_top1_agreement_counts_clips():
    labels = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.uint8)
    mine = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    theirs = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]])
    assert quality.compare(labels, mine, theirs, against="x", seed=0).top1_agreement == 0.75


def test_predictions_are_the_models_sigmoid_in_the_order_of_the_clips():
    features = np.random.default_rng(2).normal(size=(7, 4, 3)).astype(np.float32)
    scores = quality.predict(lambda x: x.sum(1), features, device="cpu", dtype="float32", batch_size=3)
    assert scores.dtype == np.float16
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-features.sum(1))), atol=1e-3)


@pytest.fixture
def model():
    model = create_model("ast_tiny", num_frames=64, num_classes=64)
    model.normalisation = Normalisation(mean=-4.0, std=4.0)
    return model


def fake_clips(count: int, seed: int = 0) -> SimpleNamespace:
    generator = np.random.default_rng(seed)
    return SimpleNamespace(
        ids=tuple(f"clip_{i}" for i in range(count)),
        waveforms=generator.integers(-8000, 8000, (count, 9000), dtype=np.int16),
        labels=(generator.random((count, 64)) < 0.1).astype(np.uint8),
        classes=tuple(f"class {i}" for i in range(64)),
        sha256=f"{seed}",
        matches_reference=True,
    )


def test_features_are_those_of_the_front_end_and_computed_once(tmp_path, monkeypatch, model):
    clips = fake_clips(70)
    monkeypatch.setattr(soundscapes, "load", lambda *_, **__: clips)
    with torch.inference_mode():
        first = quality.prepare_features(DataConfig(clips=70), model, tmp_path, progress=False)
        written = first.path.stat().st_mtime_ns
        again = quality.prepare_features(DataConfig(clips=70), model, tmp_path, progress=False)
    assert (again.path, again.path.stat().st_mtime_ns) == (first.path, written)
    waveforms = torch.from_numpy(clips.waveforms).float() / 32768
    expected = Frontend(model.geometry, model.normalisation)(waveforms)
    np.testing.assert_allclose(first.open(), expected, atol=1e-5)
    assert first.open().dtype == np.float32
    assert first.ids == clips.ids
    np.testing.assert_array_equal(first.labels, clips.labels)
    assert not list(tmp_path.rglob("*.tmp"))


def test_other_clips_or_another_normalisation_have_features_of_their_own(tmp_path, monkeypatch, model):
    paths = set()
    for seed, mean in ((0, -4.0), (1, -4.0), (0, -5.0)):
        monkeypatch.setattr(soundscapes, "load", lambda *_, seed=seed, **__: fake_clips(3, seed))
        model.normalisation = dataclasses.replace(model.normalisation, mean=mean)
        paths.add(quality.prepare_features(DataConfig(clips=3), model, tmp_path, progress=False).path)
    assert len(paths) == 3


def test_features_that_fail_half_way_leave_nothing_behind(tmp_path):
    def compute(start: int, end: int) -> np.ndarray:
        if start:
            raise RuntimeError("stop")
        return np.zeros((end - start, 2, 2), np.float32)

    with pytest.raises(RuntimeError, match="stop"):
        quality._write_features(tmp_path / "a.npy", (100, 2, 2), compute)
    assert not os.listdir(tmp_path)
