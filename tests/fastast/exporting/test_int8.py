"""int8: the blocks' products run in 8 bits in both runtimes, and the logits stay near."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_exports import FORMATS, REDUCTION

import fastast
from fastast.exporting.agreement import real_clips


@pytest.fixture(scope="module", params=FORMATS)
def opened(request, model, tmp_path_factory):
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    path: Path = tmp_path_factory.mktemp("int8") / f"small{FORMATS[request.param]}"
    clips = real_clips(model.geometry, model.normalisation)
    done = fastast.export(model, path, format=request.param, reduction=REDUCTION, dtype="int8", calibration=clips)
    assert done.metadata.dtype == "int8"
    assert done.metadata.calibration_sha256
    return fastast.open_exported(path)


@pytest.mark.slow
def test_eight_products_are_int8_and_the_comparison_of_tokens_is_not(opened) -> None:
    # Two blocks with four products each: queries, keys and values; projection; two of the MLP.
    products = opened.session.facts().products
    assert products["int8"] == 8
    assert products["float32"] >= 3  # two comparisons of tokens, and the head


def test_logits_are_near_pytorchs_but_not_the_same(opened, model) -> None:
    clips = real_clips(model.geometry, model.normalisation).flip(1)  # other clips than those of the calibration
    with fastast.reduce(model, REDUCTION):
        expected = model(clips)
    difference = float((opened(clips) - expected).abs().max() / expected.abs().max())
    assert 1e-4 < difference < 0.2


def test_any_batch(opened, model) -> None:
    clips = real_clips(model.geometry, model.normalisation)
    one_by_one = torch.cat([opened(clip) for clip in clips.split(1)])
    np.testing.assert_allclose(opened(clips).numpy(), one_by_one.numpy(), rtol=1e-4, atol=1e-4)
