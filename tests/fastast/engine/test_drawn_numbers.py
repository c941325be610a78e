"""Random numbers that a captured graph reads stay where they are as long as the engine."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

import fastast
from fastast.engine.forward import PackedForward
from fastast.engine.kernel_table import reference_kernels
from fastast.engine.weights import pack
from fastast.reduction import AttachedReduction, tokens


@pytest.mark.parametrize("method", ["random", "patchout"])
@torch.no_grad()
def test_they_outlive_the_cache_that_they_come_from(small_model, small_fbank, monkeypatch, method) -> None:
    drawn: list[weakref.ref[torch.Tensor]] = []
    draw = tokens._kept

    def noted(*key: object) -> torch.Tensor:
        drawn.append(weakref.ref(draw(*key)))
        return draw(*key)

    monkeypatch.setattr(tokens, "_kept", noted)
    reduction = fastast.TokenReduction(schedule="list:5,4,0", method=method, seed=71)
    attached = AttachedReduction.of(reduction, small_model.encoder)
    forward = PackedForward(
        pack(small_model, dtype=torch.float32, device=torch.device("cpu")), attached, reference_kernels()
    )
    forward(small_fbank)
    draw.cache_clear()  # as more draws than it holds do
    gc.collect()
    assert len(drawn) == 2
    assert all(number() is not None for number in drawn)
    del forward
    gc.collect()
    assert all(number() is None for number in drawn)
