"""What was changed inside a model runs, or is said to keep the kernels from it: never ignored in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_hosts import hugging_face, timm_vit
from torch import nn
from torch.nn.utils import parametrizations

import fastast
from fastast.engine import why_not_differentiable
from fastast.hosts import adapter_of
from fastast.model import AudioSpectrogramTransformer


class LowRank(nn.Linear):
    """A layer with something of its own added, as LoRA does it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + x.mean(-1, keepdim=True)


class OwnForward(AudioSpectrogramTransformer):
    """A model that does something else behind its blocks."""

    def forward(self, *given: Any, **named: Any) -> torch.Tensor:
        return super().forward(*given, **named) * 2


def low_rank(layer: nn.Linear) -> LowRank:
    made = LowRank(layer.in_features, layer.out_features)
    made.load_state_dict(layer.state_dict())
    return made


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


NATIVE: dict[str, tuple[Callable[[Any], object], str]] = {
    "activation": (
        lambda m: put(m, "blocks.0.mlp.act", nn.ReLU()),
        "blocks.0.mlp.act is a ReLU; the kernels have GELU",
    ),
    "another GELU": (lambda m: put(m, "blocks.1.mlp.act", nn.GELU("tanh")), "blocks.1.mlp.act is a GELU (approximate"),
    "no activation": (lambda m: put(m, "blocks.0.mlp.act", nn.Identity()), "blocks.0.mlp.act is a Identity"),
    "LoRA": (lambda m: put(m, "blocks.0.attn.qkv", low_rank(m.blocks[0].attn.qkv)), "blocks.0.attn.qkv is a LowRank"),
    "a wrapped layer": (lambda m: put(m, "head.linear", nn.Sequential(m.head.linear)), "head.linear is a Sequential"),
    "parametrization": (
        lambda m: parametrizations.weight_norm(m.blocks[1].mlp.fc1),
        "blocks.1.mlp.fc1 is a ParametrizedLinear",
    ),
    "norm": (lambda m: put(m, "blocks.0.norm2", nn.RMSNorm(32)), "blocks.0.norm2 is a RMSNorm"),
    "norm without bias": (
        lambda m: put(m, "norm", nn.LayerNorm(32, bias=False)),
        "norm differs from the kernels: only one of them has bias",
    ),
    "no bias": (
        lambda m: put(m, "blocks.0.mlp.fc1", nn.Linear(32, 128, bias=False)),
        "blocks.0.mlp.fc1 differs from the kernels: only one of them has bias",
    ),
    "norm in the MLP": (lambda m: put(m, "blocks.0.mlp.norm", nn.LayerNorm(128)), "blocks.0.mlp.norm is a LayerNorm"),
    "hook": (lambda m: m.blocks[0].mlp.register_forward_hook(lambda *_: None), "blocks.0.mlp has hooks"),
    "hook on a layer": (lambda m: m.blocks[0].mlp.fc1.register_forward_pre_hook(lambda *_: None), "mlp.fc1 has hooks"),
    "hook on the model": (lambda m: m.register_forward_hook(lambda *_: None), "the model has hooks"),
    "own forward": (lambda m: setattr(m, "__class__", OwnForward), "OwnForward has its own forward"),
}


@pytest.mark.parametrize(("change", "reason"), NATIVE.values(), ids=NATIVE)
def test_of_fastasts_own(small_model, change, reason) -> None:
    assert adapter_of(small_model).packable() == ""
    change(small_model)
    assert reason in adapter_of(small_model).packable()
    assert reason in why_not_differentiable(small_model)


def test_dropout_keeps_the_kernels_from_training_alone(small_model) -> None:
    small_model.blocks[1].mlp.drop1.p = 0.1
    assert adapter_of(small_model).packable() == ""
    assert why_not_differentiable(small_model).startswith("blocks.1.mlp.drop1 drops 0.1")


def test_what_the_weights_say_themselves_may_differ(small_model) -> None:
    """Another head, another eps, a mode of training: all of it is read with the weights, or by them."""
    small_model.head.linear, small_model.norm.eps = nn.Linear(32, 3), 1e-3
    assert adapter_of(small_model).packable() == ""
    deep = AudioSpectrogramTransformer(small_model.geometry, drop_path_rate=0.2)
    assert adapter_of(deep).packable() == ""


def test_the_look_draws_nothing(small_model) -> None:
    before = torch.get_rng_state()
    adapter_of(small_model).packable()
    assert torch.equal(torch.get_rng_state(), before)


TIMM: dict[str, tuple[Callable[[Any], object], str]] = {
    "hook": (lambda m: m.blocks[0].mlp.fc1.register_forward_hook(lambda *_: None), "blocks.0.mlp.fc1 has hooks"),
    "hook around the blocks": (lambda m: m.blocks.register_forward_hook(lambda *_: None), "blocks has hooks"),
    "a head of two": (lambda m: put(m, "head", nn.Sequential(m.head)), "head is not a linear layer"),
    "a head of one's own": (lambda m: put(m, "head", low_rank(m.head)), "head is not a linear layer"),
    "a class of one's own": (
        lambda m: put(m, "blocks.0.attn.proj_drop", nn.AlphaDropout()),
        "blocks.0.attn.proj_drop is a AlphaDropout",
    ),
    "activation": (lambda m: put(m, "blocks.2.mlp.act", type("MyGELU", (nn.GELU,), {})()), "blocks.2.mlp is not two"),
}


@pytest.mark.parametrize(("change", "reason"), TIMM.values(), ids=TIMM)
def test_of_timm(change, reason) -> None:
    model = timm_vit()
    assert adapter_of(model).packable() == ""
    change(model)
    assert reason in adapter_of(model).packable()


def layer(model: Any) -> Any:
    tower = model.audio_spectrogram_transformer
    return (tower.layers if hasattr(tower, "layers") else tower.encoder.layer)[0]


def swap(model: Any, kind: type[nn.Module], new: nn.Module) -> None:
    """Put a module in the place of the first of its class in the first layer."""
    put(layer(model), next(name for name, module in layer(model).named_modules() if type(module) is kind), new)


HUGGING_FACE: dict[str, tuple[Callable[[Any], object], str]] = {
    "activation": (
        lambda m: swap(m, type(next(x for x in layer(m).modules() if "GELU" in type(x).__name__)), nn.ReLU()),
        "is a ReLU; the kernels have GELUActivation",
    ),
    "norm": (lambda m: swap(m, nn.LayerNorm, nn.RMSNorm(32)), "is a RMSNorm; the kernels have LayerNorm"),
    "LoRA": (lambda m: swap(m, nn.Linear, LowRank(32, 32)), "is a LowRank; the kernels have Linear"),
    "hook": (
        lambda m: next(x for x in layer(m).modules() if type(x) is nn.Linear).register_forward_hook(lambda *_: None),
        "has hooks, which would not run",
    ),
}


@pytest.mark.oracle
@pytest.mark.parametrize(("change", "reason"), HUGGING_FACE.values(), ids=HUGGING_FACE)
def test_of_hugging_face(change, reason) -> None:
    model = hugging_face()
    assert adapter_of(model).packable() == ""
    change(model)
    assert reason in adapter_of(model).packable()


@pytest.mark.parametrize("make", [timm_vit, hugging_face])
def test_a_reduction_that_is_attached_is_no_change(make) -> None:
    model = make()
    with fastast.reduce(model.eval(), fastast.TokenReduction(schedule="constant:2")):
        assert adapter_of(model).packable() == ""


def test_the_engine_then_gives_the_models_own_logits(small_model, small_fbank) -> None:
    small_model.blocks[0].mlp.act = nn.ReLU().eval()
    with pytest.warns(fastast.engine.EngineFallbackWarning, match="is a ReLU"):
        engine = fastast.compile(small_model)
    assert engine.path == "plain"
    with torch.no_grad():
        torch.testing.assert_close(engine(small_fbank), small_model(small_fbank))
