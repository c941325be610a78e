"""Attention in proportion to size: all kernels against what it means, a softmax over repeated tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastast.attention import ATTENTION_KERNELS, proportional_attention, resolve_kernel
from fastast.attention.flash import FLASH_KERNELS

ANYWHERE = [kernel for kernel in ATTENTION_KERNELS if kernel not in FLASH_KERNELS]
"""The others have tests of their own."""


def repeated(q: Tensor, k: Tensor, v: Tensor, size: Tensor) -> Tensor:
    """The definition: a token of size s is s equal keys and values. One clip, sizes whole, in NumPy float64."""
    out = np.empty(v.shape)
    for b in range(len(q)):
        times = size[b].long().numpy()
        for h in range(q.shape[1]):
            keys = np.repeat(k[b, h].double().numpy(), times, axis=0)
            values = np.repeat(v[b, h].double().numpy(), times, axis=0)
            scores = q[b, h].double().numpy() @ keys.T / np.sqrt(q.shape[-1])
            weights = np.exp(scores - scores.max(1, keepdims=True))
            out[b, h] = weights / weights.sum(1, keepdims=True) @ values
    return torch.from_numpy(out)


def tensors(n: int = 37, d: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    q, k, v = torch.randn(3, 2, 3, n, d, generator=g)
    return q, k, v, torch.randint(1, 40, (2, n), generator=g).float()


@pytest.mark.parametrize("kernel", ANYWHERE)
def test_a_token_of_size_s_counts_as_s_tokens(kernel: str) -> None:
    q, k, v, size = tensors()
    torch.testing.assert_close(
        proportional_attention(q, k, v, size, kernel=kernel).double(), repeated(q, k, v, size), atol=3e-6, rtol=1e-5
    )


@pytest.mark.parametrize("kernel", ["key_column", "value_fold"])
def test_half_precision_weights_large_sizes_exactly(kernel: str) -> None:
    # All keys alike, so the output is the size-weighted mean of the values: 300 against 3 tokens of size 100.
    n, d = 4, 64
    q = k = torch.zeros(1, 1, n, d, dtype=torch.bfloat16)
    v = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.bfloat16)[None, None, :, None].expand(1, 1, n, d)
    size = torch.tensor([[300.0, 100.0, 100.0, 100.0]])
    out = proportional_attention(q, k, v, size, kernel=kernel).float()
    assert (out - 0.5).abs().max() < 0.004  # one bfloat16 step at 0.5


@pytest.mark.parametrize("kernel", ANYWHERE)
def test_gradients_equal_the_definition(kernel: str) -> None:
    grads = {}
    for name in ("math", kernel):
        q, k, v, size = tensors()
        inputs = [x.double().requires_grad_() for x in (q, k, v)]
        proportional_attention(*inputs, size.double(), kernel=name).pow(2).sum().backward()
        grads[name] = [x.grad for x in inputs]
    for got, want in zip(grads[kernel], grads["math"], strict=True):
        torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-8)


def test_auto_is_the_mask_on_a_cpu_and_never_a_mask_on_a_gpu() -> None:
    assert resolve_kernel("auto", torch.device("cpu")) == "mask"
    assert resolve_kernel("auto", torch.device("cuda")) == "key_column"


def test_unknown_kernel_names_those_there_are() -> None:
    q, k, v, size = tensors()
    with pytest.raises(ValueError, match="unknown kernel 'flash'; there are: auto, mask"):
        proportional_attention(q, k, v, size, kernel="flash")


def test_one_query_over_many_keys_learns_on_any_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As attention pooling has it, where `auto` would take products on some processors."""
    monkeypatch.setattr("fastast.attention.proportional.multiplies_bfloat16", lambda: True)
    q, (k, v) = torch.randn(2, 3, 1, 16).bfloat16().requires_grad_(), torch.randn(2, 2, 3, 7, 16).bfloat16()
    size = torch.rand(2, 7) + 1
    proportional_attention(q, k, v, size).sum().backward()
    assert q.grad is not None
    with pytest.raises(ValueError, match="'products' takes as many queries as keys"):
        proportional_attention(q, k, v, size, kernel="products")


def test_dropout_is_refused_where_it_would_drop_the_divisor() -> None:
    q, k, v = torch.randn(3, 1, 1, 2, 8)
    with pytest.raises(ValueError, match="'value_fold' would drop what it divides by"):
        proportional_attention(q, k, v, torch.ones(1, 2), kernel="value_fold", dropout=0.5)
