"""Multiply-accumulates of hosts, patches and head included, against torch's own counter."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastast import TokenReduction
from fastast.attention import proportional_attention
from fastast.hosts import adapter_of, timm
from fastast.macs import model_macs
from fastast.reduction import AttachedReduction


def counted(model: nn.Module, given: torch.Tensor, reduction: TokenReduction) -> int:
    host = adapter_of(model.requires_grad_(False).to("meta"))  # on a CPU the counter misses fused attention
    host.attach(AttachedReduction.of(reduction, host.encoder), "math")  # past the look at a host, which needs weights
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(given[:1].to("meta"))
    host.detach()
    return counter.get_total_flops() // 2


TIMM: dict[str, dict[str, Any]] = {
    "class": {},
    "two heads": {"distilled": True},
    "average": {"global_pool": "avg"},
    "map": {"global_pool": "map"},
    "map with prefix": {"global_pool": "map", "pool_include_prefix": True},
    "no classes": {"num_classes": 0},
    "three channels": {"in_chans": 3},
}


@pytest.mark.parametrize("schedule", ["constant:0", "constant:9"])
@pytest.mark.parametrize("settings", TIMM.values(), ids=TIMM)
def test_of_timm(vit, picture, settings, schedule, monkeypatch) -> None:
    # Of the pooling too: other kernels pad what they multiply, and the counter sees it.
    monkeypatch.setattr(timm, "proportional_attention", partial(proportional_attention, kernel="math"))
    model, reduction = vit(**settings), TokenReduction(schedule=schedule)
    given = picture.expand(-1, settings.get("in_chans", 1), -1, -1)
    assert counted(model, given, reduction) == model_macs(adapter_of(model).encoder, reduction)


@pytest.mark.oracle
@pytest.mark.parametrize("schedule", ["constant:0", "constant:9"])
@pytest.mark.parametrize("kind", ["ASTModel", "ASTForAudioClassification"])
def test_of_hugging_face(hugging_face, fbank, kind, schedule) -> None:
    model, reduction = hugging_face(kind), TokenReduction(schedule=schedule)
    assert counted(model, fbank, reduction) == model_macs(adapter_of(model).encoder, reduction)


@pytest.mark.oracle
def test_the_same_weights_have_the_same_shape_whoever_runs_them(native, hugging_face, vit) -> None:
    same = native.encoder
    assert adapter_of(hugging_face()).encoder == same
    assert adapter_of(vit(distilled=True)).encoder.outside_macs == same.outside_macs + 32 * 5  # of its second head
