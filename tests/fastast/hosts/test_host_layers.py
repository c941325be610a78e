"""The weights that hosts give the engine: one set of names for all, and the host's own logits from nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_hosts import GEOMETRY
from torch import Tensor

from fastast.hosts import adapter_of
from fastast.hosts.host import Host
from fastast.hosts.layers import NormLayer


def norm(x: Tensor, layer: NormLayer | None) -> Tensor:
    return x if layer is None else F.layer_norm(x, x.shape[-1:], layer.weight, layer.bias, layer.eps)


def forward_of_layers(host: Host, patches: Tensor) -> Tensor:
    """An unmerged forward of nothing but the packed layers; `patches` (b, 1, f, t) as the convolution takes them."""
    ends, shape = host.ends(), host.encoder
    x = F.conv2d(patches, ends.patch.weight, ends.patch.bias, ends.stride).flatten(2).transpose(1, 2)
    x = torch.cat([ends.prefix.expand(len(x), -1, -1), x], 1) + ends.pos_embed
    for index in range(shape.depth):
        layers = host.layers(index)
        qkv = F.linear(norm(x, layers.norm1), layers.qkv.weight, layers.qkv.bias)
        heads = qkv.unflatten(-1, (3, shape.num_heads, shape.head_dim)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = x + F.linear(out, layers.proj.weight, layers.proj.bias)
        hidden = F.gelu(F.linear(norm(x, layers.norm2), layers.fc1.weight, layers.fc1.bias))
        x = x + F.linear(hidden, layers.fc2.weight, layers.fc2.bias)
    x, p = norm(x, ends.norm), shape.num_prefix_tokens
    pooled = {"prefix": x[:, :p], "class": x[:, :1], "average": x[:, p:]}[shape.reads].mean(1)
    return F.linear(norm(pooled, ends.head_norm), ends.head.weight, ends.head.bias)


PACKED: dict[str, dict[str, Any]] = {
    "class": {},
    "average": {"global_pool": "avg"},
    "layer scale": {"init_values": 0.3},
    "deit3": {"init_values": 0.3, "no_embed_class": True},
    "register tokens": {"reg_tokens": 2, "no_embed_class": True},
    "no bias of queries": {"qkv_bias": False},
    "norm behind the pool": {"fc_norm": True},
}


@pytest.mark.parametrize("settings", PACKED.values(), ids=PACKED)
def test_timms_layers_make_timms_logits(vit, picture, settings) -> None:
    model = vit(**settings)
    host = adapter_of(model)
    assert host.packable() == ""
    torch.testing.assert_close(forward_of_layers(host, picture), model(picture), atol=1e-5, rtol=1e-5)


def test_the_native_layers_make_its_logits(native, fbank, picture) -> None:
    host = adapter_of(native)
    assert host.packable() == ""
    torch.testing.assert_close(forward_of_layers(host, picture), native(fbank), atol=1e-5, rtol=1e-5)
    assert host.encoder == GEOMETRY.encoder


@pytest.mark.oracle
@pytest.mark.parametrize("settings", [{}, {"qkv_bias": False}])
def test_hugging_faces_layers_make_its_logits(hugging_face, fbank, picture, settings) -> None:
    model = hugging_face(**settings)
    host = adapter_of(model)
    assert host.packable() == ""
    torch.testing.assert_close(forward_of_layers(host, picture), model(fbank).logits, atol=1e-5, rtol=1e-5)


def test_gradients_flow_through_folded_layers(vit, picture) -> None:
    model = vit(init_values=0.3)
    forward_of_layers(adapter_of(model), picture).pow(2).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


UNPACKED: dict[str, tuple[dict[str, Any], str]] = {
    "norms of queries": ({"qk_norm": True}, r"blocks\.0\.attn\.q_norm is a LayerNorm; the kernels have no norm there"),
    "norm of attention": ({"scale_attn_norm": True}, r"blocks\.0\.attn\.norm is a LayerNorm"),
    "norm of MLP": ({"scale_mlp_norm": True}, r"blocks\.0\.mlp\.norm is a LayerNorm"),
    "map": ({"global_pool": "map"}, "attn_pool pools by attention"),
    "two heads": ({"distilled": True}, "two heads, head and head_dist"),
    "no biases": ({"proj_bias": False}, r"blocks\.0\.mlp\.fc1 has no bias; the kernels have one"),
    "norm before": ({"pre_norm": True}, "norm_pre is a LayerNorm"),
    "another activation": ({"act_layer": "relu"}, r"blocks\.0\.mlp is not two linear layers around a GELU"),
    "another GELU": ({"act_layer": "gelu_tanh"}, r"blocks\.0\.mlp is not two linear layers around a GELU"),
    "another norm": ({"norm_layer": "rmsnorm"}, "norm is a RmsNorm; the kernels have LayerNorm"),
    "colour": ({"in_chans": 3}, "patches have 3 channels"),
    "no classes": ({"num_classes": 0}, "head is not a linear layer"),
    "no positions": ({"pos_embed": "none"}, "no position embedding or no prefix token"),
    "no prefix": ({"class_token": False, "global_pool": "avg"}, "no position embedding or no prefix token"),
}


@pytest.mark.parametrize(("settings", "message"), UNPACKED.values(), ids=UNPACKED)
def test_what_the_kernels_cannot_take_is_said(vit, settings, message) -> None:
    assert re.search(message, adapter_of(vit(**settings)).packable())


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("ASTModel", {}, "ASTModel has no head for classes; compile ASTForAudioClassification"),
        ("ASTForAudioClassification", {"hidden_act": "relu"}, "hidden_act is 'relu'; the kernels have 'gelu'"),
        ("ASTForAudioClassification", {"num_labels": 0}, "classifier.dense is not a linear layer"),
    ],
)
def test_what_the_kernels_cannot_take_of_hugging_face_is_said(hugging_face, kind, settings, message) -> None:
    assert message in adapter_of(hugging_face(kind, **settings)).packable()
