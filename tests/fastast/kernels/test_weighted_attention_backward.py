"""Gradients of weighted attention in Triton against those that autograd derives from the definition in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastast.kernels.weighted_attention import weighted_attention
from fastast.kernels.weighted_attention_backward import grad_kv_tiling, grad_q_tiling

TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Of the largest gradient: half precision rounds weights, their gradients and the result."""


def definition(qkv: Tensor, size: Tensor | None, num_heads: int) -> Tensor:
    b, n, d = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    q, k, v = qkv.reshape(b, n, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-2, -1) * (d // num_heads) ** -0.5
    if size is not None:
        scores = scores + size.to(scores.dtype).log()[:, None, None, :]
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, d)


def inputs(
    device: torch.device, *, b: int = 2, n: int = 37, heads: int = 2, e: int = 32, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values; sizes between 1 and 300; and what the loss thinks of the output."""
    g = torch.Generator().manual_seed(n * 1000 + e)
    qkv = torch.randn(b, n, 3 * heads * e, generator=g)
    size = torch.randint(1, 301, (b, n), generator=g).float()
    grad = torch.randn(b, n, heads * e, generator=g)
    return qkv.to(device, dtype).requires_grad_(), size.to(device), grad.to(device, dtype)


def assert_gradients_agree(qkv: Tensor, size: Tensor | None, grad: Tensor, num_heads: int) -> None:
    (got,) = torch.autograd.grad(weighted_attention(qkv, size, num_heads), qkv, grad)
    exact = qkv.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(definition(exact, size, num_heads), exact, grad.double())
    assert got.dtype == qkv.dtype
    # Queries, keys and values each by their own scale: a wrong dQ must not hide behind a large dV.
    parts = zip(got.double().chunk(3, -1), want.chunk(3, -1), strict=True)
    for name, (part, exact_part) in zip("qkv", parts, strict=True):
        scale = max(exact_part.abs().max().item(), 1e-2)
        error = (part - exact_part).abs().max().item() / scale
        assert error <= TOLERANCE[qkv.dtype], f"gradient by {name} is off by {error:.2g} of its largest"


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 7, 17, 65, 130])
@pytest.mark.parametrize("sized", [True, False], ids=["sizes", "no sizes"])
def test_any_number_of_tokens(device: torch.device, n: int, sized: bool) -> None:
    qkv, size, grad = inputs(device, n=n, b=1, heads=1, dtype=torch.float64)
    assert_gradients_agree(qkv, size if sized else None, grad, 1)


@pytest.mark.parametrize("e", [8, 48, 64, 72, 80])
def test_any_width_of_a_head(device: torch.device, e: int) -> None:
    qkv, size, grad = inputs(device, e=e, heads=2, b=2, n=18)
    assert_gradients_agree(qkv, size, grad, 2)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_any_type(device: torch.device, dtype: torch.dtype) -> None:
    qkv, size, grad = inputs(device, dtype=dtype, e=64, b=1, n=75)
    assert_gradients_agree(qkv, size, grad, 2)


@pytest.mark.slow
@pytest.mark.parametrize("sized", [True, False], ids=["sizes", "no sizes"])
def test_gradients_are_the_slopes_of_the_kernel_itself(device: torch.device, sized: bool) -> None:
    qkv, size, _ = inputs(device, dtype=torch.float64, n=4, e=2, b=1, heads=1)
    assert torch.autograd.gradcheck(lambda x: weighted_attention(x, size if sized else None, 1), (qkv,))


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")  # in rows of padding, which are not stored
@pytest.mark.parametrize("sized", [True, False], ids=["sizes", "no sizes"])
def test_scores_far_below_zero_leave_no_trace_of_padding(device: torch.device, sized: bool) -> None:
    # All scores near -600: the weight of a padded key, whose score is 0, would be infinite if it were not masked.
    qkv, size, grad = inputs(device, n=19, e=16, heads=1, b=1)
    with torch.no_grad():
        qkv[..., 15], qkv[..., 31] = 100.0, -24.0
    size = size if sized else None
    (got,) = torch.autograd.grad(weighted_attention(qkv, size, 1), qkv, grad)
    exact = qkv.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(definition(exact, size, 1), exact, grad.double())
    # float32 holds a score of -600 to 3e-5, and keys of 100 amplify that in the gradient of their queries.
    torch.testing.assert_close(got.double(), want, atol=5e-3, rtol=1e-2)


def test_gradients_that_arrive_as_a_view(device: torch.device) -> None:
    qkv, size, _ = inputs(device, n=20)
    (got,) = torch.autograd.grad(weighted_attention(qkv, size, 2).sum(), qkv)  # the gradient of a sum has no strides
    exact = qkv.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(definition(exact, size, 2).sum(), exact)
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=1e-5)


def test_equal_bits_in_every_run(device: torch.device) -> None:
    qkv, size, grad = inputs(device, dtype=torch.bfloat16, n=70)
    runs = [torch.autograd.grad(weighted_attention(qkv, size, 2), qkv, grad)[0] for _ in range(2)]
    assert torch.equal(*runs)


def test_no_normalisers_are_kept_where_no_gradient_is_asked_for(device: torch.device) -> None:
    qkv, size, _ = inputs(device, n=20)
    assert weighted_attention(qkv, size, 2).grad_fn is not None
    with torch.no_grad():
        assert weighted_attention(qkv, size, 2).grad_fn is None
    assert weighted_attention(qkv.detach(), size, 2).grad_fn is None


@pytest.mark.parametrize("tiling", [grad_q_tiling, grad_kv_tiling])
def test_matrix_units_get_tiles_they_can_take(tiling: object) -> None:
    for head_width in (16, 48, 64, 80, 128, 160, 256):
        for dtype in TOLERANCE:
            tiles = tiling(head_width, dtype)  # type: ignore[operator]
            assert min(tiles.block_m, tiles.block_n) >= 16
