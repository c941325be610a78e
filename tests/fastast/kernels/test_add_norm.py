"""Residual sum and LayerNorm in Triton against their definition, written in NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastast.kernels import add_norm as module
from fastast.kernels.add_norm import add_norm, add_norm_reference, norm_warps

TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 3e-3, torch.bfloat16: 3e-2}
"""Relative to numbers of a few units: one rounding of the output."""
EPS = 1e-6


def definition(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    a, b, w, shift = (t.detach().cpu().double().numpy() for t in (x, y, weight, bias))
    total = a + b
    centred = total - total.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPS) * w + shift
    return torch.from_numpy(total), torch.from_numpy(normed)


def inputs(
    device: torch.device, *shape: int, dtype: torch.dtype = torch.float32, weights: torch.dtype | None = None
) -> list[Tensor]:
    """x, y, weight, bias; x far from zero mean, so that what is not subtracted shows."""
    g = torch.Generator().manual_seed(sum(shape))
    x, y = torch.randn(*shape, generator=g) + 3, torch.randn(*shape, generator=g)
    weight, bias = torch.randn(shape[-1], generator=g), torch.randn(shape[-1], generator=g)
    tensors = [t.to(device, dtype) for t in (x, y)]
    return [*tensors, *(t.to(device, weights or dtype) for t in (weight, bias))]


def assert_is_sum_and_norm(tensors: list[Tensor]) -> None:
    results = add_norm(*tensors, EPS)
    for got, want in zip(results, definition(*tensors), strict=True):
        tolerance = TOLERANCE[got.dtype]
        torch.testing.assert_close(got.cpu().double(), want, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("d", [1, 2, 7, 64, 192, 384, 768, 1000])
def test_any_width(device: torch.device, d: int) -> None:
    assert_is_sum_and_norm(inputs(device, 2, 5, d))


@pytest.mark.parametrize("n", [1, 7, 17, 65, 130])
def test_any_number_of_tokens(device: torch.device, n: int) -> None:
    assert_is_sum_and_norm(inputs(device, 1, n, 32))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_any_type(device: torch.device, dtype: torch.dtype) -> None:
    assert_is_sum_and_norm(inputs(device, 2, 17, 96, dtype=dtype))


def test_norm_weights_may_be_wider_than_tokens(device: torch.device) -> None:
    assert_is_sum_and_norm(inputs(device, 2, 17, 96, dtype=torch.bfloat16, weights=torch.float32))


def test_a_sum_of_two_types_has_the_wider_one(device: torch.device) -> None:
    x, y, weight, bias = inputs(device, 2, 5, 64)
    total, normed = add_norm(x, y.half(), weight, bias, EPS)
    reference, _ = add_norm_reference(x, y.half(), weight, bias, EPS)
    assert total.dtype == normed.dtype == reference.dtype == torch.float32
    assert add_norm(x.half(), y, weight, bias, EPS)[0].dtype == torch.float32
    torch.testing.assert_close(total, reference)


def test_the_norm_is_of_the_sum_before_it_is_rounded(device: torch.device) -> None:
    # 256 + 0.5 is 256 in bfloat16: what is normalised must still hold the half.
    x = torch.full((1, 1, 64), 256.0, dtype=torch.bfloat16, device=device)
    y = torch.zeros_like(x)
    y[..., ::2] = 0.5
    ones, zeros = torch.ones(64, device=device), torch.zeros(64, device=device)
    total, normed = add_norm(x, y, ones, zeros, EPS)
    assert total.unique().tolist() == [256.0]
    expected = torch.tensor([1.0, -1.0], device=device).repeat(32)
    assert (normed[0, 0].float() - expected).abs().max() < 0.005, "of the rounded sum it would be zero"


def test_equal_numbers_in_a_row_are_normalised_by_eps(device: torch.device) -> None:
    x = torch.ones(1, 3, 48, device=device)
    bias = torch.arange(48.0, device=device)
    _, normed = add_norm(x, x, torch.ones(48, device=device), bias, EPS)
    # A GPU multiplies by 1/48: its mean of 2 is off by as much as that is rounded, which 1/sqrt(eps) amplifies.
    torch.testing.assert_close(normed, bias.expand(1, 3, 48), rtol=0, atol=2 * 2**-24 / EPS**0.5)


def gradients(function: object, tensors: list[Tensor], grads: list[Tensor], used: tuple[int, ...]) -> list[Tensor]:
    outputs = function(*tensors, EPS)  # type: ignore[operator]
    return list(torch.autograd.grad([outputs[i] for i in used], tensors, [grads[i] for i in used]))


@pytest.mark.parametrize("used", [(0, 1), (0,), (1,)], ids=["both", "sum alone", "norm alone"])
@pytest.mark.parametrize("n", [1, 13])
def test_gradients_equal_autograds_in_float64(
    device: torch.device, n: int, used: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PARTIAL_SUMS", 7)  # 26 rows: four for each program, two for the last, or none
    tensors = inputs(device, 2, n, 24)
    # Behind the last row lies what must not be read.
    grads = [torch.cat([torch.randn(2, n, 24), torch.full((1, n, 24), torch.nan)]).to(device)[:2] for _ in range(2)]
    got = gradients(add_norm, [t.requires_grad_() for t in tensors], grads, used)
    exact = [t.detach().double().requires_grad_() for t in tensors]

    def in_plain_torch(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        total = x + y
        centred = total - total.mean(-1, keepdim=True)
        normed = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
        return total, normed + 0 * total

    want = torch.autograd.grad(
        [in_plain_torch(*exact, EPS)[i] for i in used], exact, [grads[i].double() for i in used], allow_unused=True
    )
    for part, exact_part in zip(got, want, strict=True):
        expected = torch.zeros_like(part) if exact_part is None else exact_part
        torch.testing.assert_close(part.double(), expected.double(), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gradients_in_half_precision(device: torch.device, dtype: torch.dtype) -> None:
    tensors = [t.requires_grad_() for t in inputs(device, 2, 9, 96, dtype=dtype, weights=torch.float32)]
    grads = [torch.randn(2, 9, 96, device=device, dtype=dtype) for _ in range(2)]
    got = gradients(add_norm, tensors, grads, (0, 1))
    exact = [t.detach().double().requires_grad_() for t in tensors]
    want = gradients(add_norm_reference, exact, [g.double() for g in grads], (0, 1))
    for part, tensor, exact_part in zip(got, tensors, want, strict=True):
        assert part.dtype == tensor.dtype
        error = (part.double() - exact_part).abs().max() / exact_part.abs().max()
        assert error < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_as_under_autocast(device: torch.device, dtype: torch.dtype) -> None:
    """A wide residual stream, a half-precision addend, and a norm for a half-precision product."""
    x, y, weight, bias = inputs(device, 2, 9, 96)
    tensors = [t.requires_grad_() for t in (x, y.to(dtype), weight, bias)]
    grads = [torch.randn(2, 9, 96, device=device), torch.randn(2, 9, 96, device=device, dtype=dtype)]
    total, normed = add_norm(*tensors, EPS, dtype)
    assert (total.dtype, normed.dtype) == (torch.float32, dtype)
    want_total, want_normed = definition(*tensors)
    torch.testing.assert_close(total.detach().cpu().double(), want_total, atol=3e-6, rtol=3e-6)
    torch.testing.assert_close(
        normed.detach().cpu().double(), want_normed, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
    )
    assert add_norm_reference(*tensors, EPS, dtype)[1].dtype == dtype
    got = torch.autograd.grad([total, normed], tensors, grads)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    want = gradients(add_norm_reference, exact, [g.double() for g in grads], (0, 1))
    for part, tensor, exact_part in zip(got, tensors, want, strict=True):
        assert part.dtype == tensor.dtype
        tolerance = 1e-5 if part.dtype == torch.float32 else TOLERANCE[dtype]
        assert (part.double() - exact_part).abs().max() / exact_part.abs().max() < tolerance


def test_gradients_of_two_types_of_which_the_sum_has_neither(device: torch.device) -> None:
    x, y, weight, bias = inputs(device, 1, 5, 32)
    tensors = [t.requires_grad_() for t in (x.half(), y.bfloat16(), weight, bias)]
    total, normed = add_norm(*tensors, EPS)
    got = torch.autograd.grad(total.square().sum() + normed.square().sum(), tensors)
    assert [g.dtype for g in got[:2]] == [torch.float16, torch.bfloat16]
    torch.testing.assert_close(got[0].float(), got[1].float(), atol=0.05, rtol=0.05)


@pytest.mark.slow
def test_gradients_are_the_slopes_of_the_kernel_itself(device: torch.device) -> None:
    tensors = [t.requires_grad_() for t in inputs(device, 1, 3, 5, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda *t: add_norm(*t, EPS), tensors)


def test_equal_bits_in_every_run(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTIAL_SUMS", 5)
    tensors = [t.requires_grad_() for t in inputs(device, 3, 20, 96)]
    grads = [torch.randn(3, 20, 96, device=device) for _ in range(2)]
    first, second = (gradients(add_norm, tensors, grads, (0, 1)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("function", [add_norm, add_norm_reference])
def test_shapes_that_do_not_fit_are_named(function: object) -> None:
    x, weight = torch.zeros(2, 3, 8), torch.zeros(8)
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 8\) and y \(2, 4, 8\)"):
        function(x, torch.zeros(2, 4, 8), weight, weight, EPS)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"weight has shape \(7,\).*both must be \(8,\)"):
        function(x, x, torch.zeros(7), weight, EPS)  # type: ignore[operator]


def test_a_thread_has_eight_numbers_of_a_row() -> None:
    assert [norm_warps(d) for d in (16, 192, 384, 768, 4096)] == [1, 1, 2, 4, 8]
