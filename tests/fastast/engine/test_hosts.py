"""Engines of models that FastAST did not build: the host's own logits, on kernels and in plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fastast
from fastast.engine import EngineFallbackWarning
from fastast.engine.forward import PackedForward
from fastast.engine.kernel_table import reference_kernels
from fastast.engine.weights import pack
from fastast.hosts import adapter_of, reduce
from fastast.reduction import AttachedReduction, TokenReduction

CPU = torch.device("cpu")


def hugging_face() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.ASTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64, max_length=96,
        num_mel_bins=32, frequency_stride=10, time_stride=10, num_labels=5,
    )  # fmt: skip
    return transformers.ASTForAudioClassification(config)


def timm_vit(**options) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=(32, 96), patch_size=16, in_chans=1, num_classes=5, embed_dim=32, depth=3, num_heads=2, **options
    )


HOSTS = {
    "hugging face": hugging_face,
    "class token": lambda: timm_vit(init_values=0.5),
    "registers": lambda: timm_vit(reg_tokens=3, no_embed_class=True),
    "mean of patches": lambda: timm_vit(global_pool="avg"),
}


@pytest.fixture(params=HOSTS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(2)
    made = HOSTS[request.param]().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made


@pytest.fixture
def fbank() -> torch.Tensor:
    return torch.randn(2, 96, 32, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("schedule", [None, "constant:2", "list:3,0,2"])
@torch.no_grad()
def test_packed_weights_give_the_hosts_own_logits(model, fbank, schedule) -> None:
    model, fbank, host = model.double(), fbank.double(), adapter_of(model)
    assert host.packable() == ""
    reduction = None if schedule is None else TokenReduction(schedule=schedule)
    attached = None if reduction is None else AttachedReduction.of(reduction, host.encoder)
    logits = PackedForward(pack(model, dtype=torch.float64, device=CPU), attached, reference_kernels())(fbank)
    if reduction is None:
        expected = host.logits(fbank)
    else:
        with reduce(model, reduction, attention="math"):
            expected = host.logits(fbank)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_pooling_without_sizes_is_the_hosts_too(fbank) -> None:
    model, fbank = timm_vit(global_pool="avg").double().eval(), fbank.double()
    plain = TokenReduction(schedule="list:3,0,2", weighted_pooling=False)
    weights, found = pack(model, dtype=torch.float64, device=CPU), []
    for reduction in (plain, TokenReduction(schedule="list:3,0,2")):
        attached = AttachedReduction.of(reduction, adapter_of(model).encoder)
        found.append(PackedForward(weights, attached, reference_kernels())(fbank))
    with reduce(model, plain, attention="math"):
        torch.testing.assert_close(found[0], adapter_of(model).logits(fbank), rtol=1e-10, atol=1e-10)
    assert (found[0] - found[1]).abs().max() > 1e-6


@pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
def test_in_plain_torch_it_runs_a_copy(model, fbank) -> None:
    reduction = TokenReduction(schedule="constant:2")
    engine = fastast.compile(model, reduction)
    assert engine.path == "plain"
    tokens = adapter_of(model).encoder.num_tokens
    assert engine.measure_tokens(fbank) == engine.tokens_per_block == (tokens - 2, tokens - 4, tokens - 6)
    with reduce(model, reduction), torch.no_grad():
        expected = adapter_of(model).logits(fbank)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(engine(fbank), expected)
    assert adapter_of(model).attached is None


def test_what_the_kernels_cannot_take_is_said() -> None:
    with pytest.warns(EngineFallbackWarning, match="q_norm is a LayerNorm"):
        engine = fastast.compile(timm_vit(qk_norm=True).eval())
    assert "q_norm" in engine.why_plain
    with pytest.raises(fastast.ReductionError, match="cannot attach to"):
        fastast.compile(nn.Linear(2, 2).eval())
