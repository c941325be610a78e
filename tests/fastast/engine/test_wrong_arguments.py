"""What is no reduction, or no filterbank, is refused with what to give in its place."""

from __future__ import annotations

import pytest

import fastast
from fastast.engine import differentiable_forward
from fastast.macs import model_macs


@pytest.mark.parametrize("given", ["constant:4", fastast.Constant(4), {"schedule": "constant:4"}])
@pytest.mark.parametrize("take", [fastast.reduce, fastast.compile, differentiable_forward, model_macs])
def test_what_is_no_reduction(small_model, take, given) -> None:
    with pytest.raises(ValueError, match=r"is not a reduction; give fastast.TokenReduction\(schedule='constant:40'\)"):
        take(small_model, given)


@pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
def test_what_is_no_filterbank(small_model, small_fbank) -> None:
    engine = fastast.compile(small_model)
    for call in (engine, engine.eagerly, engine.measure_tokens):
        with pytest.raises(ValueError, match="a ndarray is not a filterbank; give a tensor .*; torch.from_numpy"):
            call(small_fbank.numpy())
