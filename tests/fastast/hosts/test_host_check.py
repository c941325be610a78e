"""What is refused before a reduction goes on a host: every way in which an adapter can be wrong, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastast
from fastast import Constant, ReductionError, TokenReduction
from fastast.encoder import EncoderShape
from fastast.hosts import HOSTS, Host, HostBlock, adapter_of, register_host, weighted_mean

MERGE = TokenReduction(schedule=Constant(3))


class Layer(nn.Module):
    """A block with everything that an adapter can get wrong; parts are off unless a test puts them on."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm2, self.mlp = nn.LayerNorm(16), nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.gate: nn.Module | None = None
        self.scale = nn.Parameter(torch.ones(16))
        self.bias: nn.Parameter | None = None

    def heads(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        return heads if self.bias is None else heads + self.bias[: x.shape[1]]

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        out = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.scale * self.out(out if self.gate is None else self.gate(out))
        return x + self.mlp(self.norm2(x))


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 16), nn.Linear(16, 5)
        self.layers = nn.ModuleList(Layer() for _ in range(2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return {"logits": self.head(x.mean(1))}


class ToyBlock(HostBlock):
    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> Any:
        q, k, v = self.module.heads(x)
        out = fastast.proportional_attention(q, k, v, size, kernel=kernel).transpose(1, 2).flatten(2)
        return self.module.scale * self.module.out(out), (q, k, v)

    def mlp_branch(self, x: Tensor) -> Tensor:
        return self.module.mlp(self.module.norm2(x))


class Unweighted(ToyBlock):
    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> Any:
        return super().attention(x, None, kernel)


class Unscaled(ToyBlock):
    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> Any:
        branch, heads = super().attention(x, size, kernel)
        return branch / self.module.scale, heads


class HeadsInRows(ToyBlock):
    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> Any:
        branch, heads = super().attention(x, size, kernel)
        return branch, tuple(part.transpose(1, 2) for part in heads)


class ToyHost(Host):
    block: type[HostBlock] = ToyBlock
    encoder = EncoderShape(
        embed_dim=16, depth=2, num_heads=2, mlp_dim=32, num_prefix_tokens=0, grid=(3, 4), reads="average"
    )

    def blocks(self) -> list[HostBlock]:
        return [self.block(layer) for layer in self.model.layers]

    def example(self) -> tuple[Tensor, ...]:
        return (torch.randn(1, 12, 8),)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.model.head(weighted_mean(*self.encode(self.model.embed(x))))}


class WithoutHead(ToyHost):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": weighted_mean(*self.encode(self.model.embed(x)))}


class NeverEncodes(ToyHost):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.own("forward")(x)


class PlainMean(ToyHost):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.model.head(self.encode(self.model.embed(x))[0].mean(1))}


class OtherHeads(ToyHost):
    encoder = dataclasses.replace(ToyHost.encoder, num_heads=4)


class OtherDepth(ToyHost):
    encoder = dataclasses.replace(ToyHost.encoder, depth=3)


class BareExample(ToyHost):
    def example(self) -> Tensor:
        return torch.randn(1, 12, 8)


class FirstToken(ToyHost):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.model.head(self.encode(self.model.embed(x))[0][:, 0])}


@pytest.fixture
def attach() -> Iterator[Callable[..., Any]]:
    """Attaches to a toy by a host that the test chooses."""

    def put(model: nn.Module, host: type[Host] = ToyHost, block: type[HostBlock] = ToyBlock) -> Any:
        HOSTS.add(f"{Toy.__module__}.{Toy.__qualname__}", type("AnyHost", (host,), {"block": block}), replace=True)
        return fastast.reduce(model, MERGE)

    yield put
    HOSTS._entries.pop(f"{Toy.__module__}.{Toy.__qualname__}", None)


def test_a_right_adapter_is_taken(attach) -> None:
    model, x = Toy(), torch.randn(2, 12, 8)
    own = model(x)["logits"]
    with attach(model) as handle:
        assert handle.tokens_per_block == (9, 6)
        assert not torch.allclose(model(x)["logits"], own, atol=1e-5)
    assert torch.equal(model(x)["logits"], own)


@pytest.mark.parametrize(
    ("host", "block", "message"),
    [
        (ToyHost, Unweighted, r"the adapter of layers\.0 \(Layer\) does not weight tokens by their sizes"),
        (
            ToyHost,
            Unscaled,
            r"layers\.1 \(Layer\) cannot be honoured: at r = 0 its tokens differ by up to 0\.\d+",
        ),
        (ToyHost, HeadsInRows, r"adapter of layers\.0 \(Layer\) returns heads of shapes \(2, 7, 2, 8\).*\(2, heads, 7"),
        (
            WithoutHead,
            ToyBlock,
            r"what Toy does around its blocks .* shapes \(1, 16\) instead of the model's \(1, 5",
        ),
        (NeverEncodes, ToyBlock, "AnyHost never calls self.encode, so no token would be reduced"),
        (PlainMean, ToyBlock, "what AnyHost computes after the blocks does not weight tokens by their sizes: with one"),
        (OtherHeads, ToyBlock, "AnyHost.encoder says num_heads 4; the blocks have 2"),
        (OtherDepth, ToyBlock, "for 3 blocks and 12 tokens, as AnyHost.encoder says, .* else correct the encoder"),
        (BareExample, ToyBlock, "AnyHost.example must return a tuple of tensors"),
        (FirstToken, ToyBlock, "what Toy does around its blocks cannot be honoured: at r = 0 the outputs differ"),
    ],
)
def test_a_wrong_adapter_is_refused_with_what_is_wrong(attach, host, block, message) -> None:
    model = Toy()
    with torch.no_grad():
        model.layers[1].scale.fill_(0.5)
    with pytest.raises(ReductionError, match=message):
        attach(model, host, block)
    assert type(model) is Toy


@pytest.mark.parametrize("wrong", [5, "constant:3", None])
def test_what_is_no_reduction_is_refused(wrong: object) -> None:
    with pytest.raises(ReductionError, match="is not a reduction; give fastast.TokenReduction"):
        fastast.reduce(Toy(), wrong)


def test_a_host_without_a_filterbank_says_what_the_engine_would_need() -> None:
    class Pictures(Host):
        def example(self) -> tuple[Tensor, ...]:
            return (torch.randn(1, 3, 8, 8),)

    with pytest.raises(ReductionError, match=r"Pictures takes \(1, 3, 8, 8\), not a filterbank"):
        _ = Pictures(Toy()).fbank_shape


def test_a_part_that_does_nothing_yet_is_refused_all_the_same(attach) -> None:
    """A gate of zeros changes no number now, and will once it is trained."""
    model = Toy()
    gate = nn.Linear(16, 16)
    with torch.no_grad():
        gate.weight.copy_(torch.eye(16))
        gate.bias.zero_()
    model.layers[1].gate = gate
    with pytest.raises(ReductionError, match=r"layers\.1\.gate \(Linear\) cannot be honoured: the block's adapter"):
        attach(model)
    model.layers[1].gate = nn.Identity()
    attach(model).remove()


def test_positions_inside_a_block_are_refused(attach) -> None:
    model = Toy()
    model.layers[1].bias = nn.Parameter(torch.randn(12, 8))
    with pytest.raises(ReductionError, match=r"layers\.1 \(Layer\) .* depends on the positions of its tokens"):
        attach(model)


def test_nan_is_a_difference(attach) -> None:
    model = Toy()
    with torch.no_grad():
        model.layers[0].out.weight[0, 0] = torch.nan
    with pytest.raises(ReductionError, match=r"layers\.0 \(Layer\) cannot be honoured: .* differ by up to nan"):
        attach(model)


def test_weights_without_data_are_refused(attach) -> None:
    with pytest.raises(ReductionError, match="Toy has no weights to compare with its adapter"):
        attach(Toy().to("meta"))


def test_a_model_that_changed_under_its_reduction_is_refused(attach) -> None:
    model, x = Toy(), torch.randn(2, 12, 8)
    attach(model)
    with pytest.raises(ReductionError, match="for 2 blocks and 12 tokens, as AnyHost.encoder .* 11 tokens"):
        model(x[:, 1:])
    del model.layers[1]
    with pytest.raises(ReductionError, match="the model runs 12 tokens through 1 blocks"):
        model(x)


def test_an_adapter_of_a_base_class_takes_what_derives_from_it_and_a_nearer_one_wins() -> None:
    class Special(Toy):
        pass

    try:
        register_host(Toy)(ToyHost)
        assert type(adapter_of(Special())) is ToyHost
        register_host(Special)(FirstToken)
        assert type(adapter_of(Special())) is FirstToken
        assert type(adapter_of(Toy())) is ToyHost
    finally:
        for kind in (Toy, Special):
            HOSTS._entries.pop(f"{kind.__module__}.{kind.__qualname__}", None)


def test_the_mean_counts_every_original_token() -> None:
    x = torch.tensor([[[1.0], [4.0]], [[2.0], [8.0]]])
    size = torch.tensor([[2.0, 1.0], [1.0, 5.0]])
    assert weighted_mean(x, size).tolist() == [[2.0], [7.0]]
    assert weighted_mean(x, None).tolist() == [[2.5], [5.0]]
    half = weighted_mean(torch.full((1, 300, 1), 3.0, dtype=torch.bfloat16), torch.ones(1, 300))
    assert (half.dtype, half.item()) == (torch.bfloat16, 3.0)
