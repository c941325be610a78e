"""Weighted attention in Triton against its definition, written in NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastast.kernels.weighted_attention import attention_tiling, weighted_attention, weighted_attention_reference

TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""Of outputs that are means of values of a few units: a rounding of the weights and one of the output."""


def definition(qkv: Tensor, size: Tensor | None, num_heads: int) -> Tensor:
    """softmax(Q Kᵀ / √e + log size) V, one clip and one head at a time."""
    b, n, d = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    x = qkv.detach().cpu().double().numpy().reshape(b, n, 3, num_heads, d // num_heads)
    weight = np.ones((b, n)) if size is None else size.cpu().double().numpy()
    out = np.empty((b, n, num_heads, d // num_heads))
    for i in range(b):
        for h in range(num_heads):
            q, k, v = x[i, :, 0, h], x[i, :, 1, h], x[i, :, 2, h]
            scores = q @ k.T / np.sqrt(q.shape[1])
            p = np.exp(scores - scores.max(1, keepdims=True)) * weight[i]
            out[i, :, h] = p / p.sum(1, keepdims=True) @ v
    return torch.from_numpy(out.reshape(b, n, d))


def inputs(
    device: torch.device, *, b: int = 2, n: int = 37, heads: int = 2, e: int = 32, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Queries, keys and values, and whole sizes between 1 and 300."""
    g = torch.Generator().manual_seed(n * 1000 + e)
    qkv = torch.randn(b, n, 3 * heads * e, generator=g)
    size = torch.randint(1, 301, (b, n), generator=g).float()
    return qkv.to(device, dtype), size.to(device)


def assert_is_attention(qkv: Tensor, size: Tensor | None, num_heads: int) -> None:
    out = weighted_attention(qkv, size, num_heads)
    assert out.dtype == qkv.dtype
    assert out.device == qkv.device
    want = definition(qkv, size, num_heads)
    tolerance = TOLERANCE[qkv.dtype]
    torch.testing.assert_close(out.cpu().double(), want, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("n", [1, 7, 17, 65, 130])
@pytest.mark.parametrize("sized", [True, False], ids=["sizes", "no sizes"])
def test_any_number_of_tokens(device: torch.device, n: int, sized: bool) -> None:
    qkv, size = inputs(device, n=n, heads=1)
    assert_is_attention(qkv, size if sized else None, 1)


@pytest.mark.parametrize("e", [8, 16, 48, 64, 72, 80])
def test_any_width_of_a_head(device: torch.device, e: int) -> None:
    qkv, size = inputs(device, e=e, heads=3, b=1)
    assert_is_attention(qkv, size, 3)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("n", [17, 150])
def test_any_type(device: torch.device, dtype: torch.dtype, n: int) -> None:
    qkv, size = inputs(device, dtype=dtype, e=64, b=1, n=n)
    assert_is_attention(qkv, size, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_counts_large_sizes_exactly(device: torch.device, dtype: torch.dtype) -> None:
    # All keys alike, so the output is the size-weighted mean of the values: 300 against 3 tokens of size 100.
    qkv = torch.zeros(1, 4, 3 * 64, dtype=dtype)
    qkv[0, 0, 128:] = 1.0
    size = torch.tensor([[300.0, 100.0, 100.0, 100.0]])
    out = weighted_attention(qkv.to(device), size.to(device), 1)
    assert (out.float() - 0.5).abs().max() < 0.004  # one step of bfloat16 at 0.5


@pytest.mark.parametrize("shift", [-600.0, 600.0])
def test_scores_far_from_zero_neither_vanish_nor_overflow(device: torch.device, shift: float) -> None:
    # Every query meets every key with the same large score on top: it must not matter. 19 keys, so a tile is masked.
    qkv, size = inputs(device, n=19, e=16, heads=1, b=1)
    qkv[..., 15] = 100.0  # of the queries
    qkv[..., 31] = shift * 4 / 100.0  # of the keys
    assert_is_attention(qkv.double(), size, 1)


def test_sizes_in_float32_beside_float64(device: torch.device) -> None:
    qkv, size = inputs(device, dtype=torch.float64)
    assert_is_attention(qkv, size.float(), 2)


def test_a_token_that_stands_for_none_is_not_seen(device: torch.device) -> None:
    qkv, size = inputs(device, n=20, b=1)
    size[0, 5] = 0.0
    seen = [i for i in range(20) if i != 5]
    without = weighted_attention(qkv[:, seen].contiguous(), size[:, seen].contiguous(), 2)
    torch.testing.assert_close(weighted_attention(qkv, size, 2)[:, seen], without, atol=1e-6, rtol=1e-6)


def test_views_are_read_as_what_they_show(device: torch.device) -> None:
    qkv, size = inputs(device, n=40)
    view, sizes = qkv[:, ::2], size[:, ::2]
    assert_is_attention(view, sizes, 2)


def test_equal_bits_in_every_run(device: torch.device) -> None:
    qkv, size = inputs(device, dtype=torch.bfloat16, n=70)
    assert torch.equal(weighted_attention(qkv, size, 2), weighted_attention(qkv, size, 2))


def test_the_reference_is_the_definition_too() -> None:
    qkv, size = inputs(torch.device("cpu"), dtype=torch.float64)
    torch.testing.assert_close(weighted_attention_reference(qkv, size, 2), definition(qkv, size, 2))
    torch.testing.assert_close(weighted_attention_reference(qkv, None, 2), definition(qkv, None, 2))


@pytest.mark.parametrize("function", [weighted_attention, weighted_attention_reference])
@pytest.mark.parametrize(
    ("shape", "size", "heads", "message"),
    [
        ((2, 5, 50), None, 2, r"qkv has shape \(2, 5, 50\).*2 heads divide"),
        ((2, 96), None, 2, r"qkv has shape \(2, 96\)"),
        ((2, 0, 96), None, 2, "nothing to attend to"),
        ((2, 5, 96), torch.ones(2, 4), 2, r"size has shape \(2, 4\); it must be \(2, 5\)"),
        ((2, 5, 96), torch.ones(2, 5).half(), 2, "size is torch.float16; it must be float32"),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    function: object, shape: tuple[int, ...], size: Tensor | None, heads: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        function(torch.zeros(shape), size, heads)  # type: ignore[operator]


def test_tiles_follow_from_shape_and_type_alone() -> None:
    full = attention_tiling(64, torch.bfloat16, 64 * 12, 1214)
    assert (full.block_m, full.block_n) == (128, 64)
    assert attention_tiling(64, torch.bfloat16, 12, 1214).block_m == 64, "one clip: smaller tiles, more programs"
    for head_width in (16, 64, 80, 160, 256):
        tiling = attention_tiling(head_width, torch.float32, 768, 1214)
        assert tiling.block_m * head_width <= 64 * 256, "float32 has no matrix units; its tiles must stay in registers"
