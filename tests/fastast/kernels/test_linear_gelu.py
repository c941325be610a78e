"""The fused linear layer with GELU against SciPy's normal distribution in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch import Tensor

from fastast.kernels.linear_gelu import linear_gelu, linear_gelu_reference, linear_tiling

TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def definition(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """z Φ(z) of z = x Wᵀ + b."""
    a, w, shift = (t.detach().cpu().double().numpy() for t in (x, weight, bias))
    z = a @ w.T + shift
    return torch.from_numpy(z * ndtr(z))


def inputs(
    device: torch.device, *shape: int, o: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(o)
    x, weight, bias = (torch.randn(*s, generator=g) for s in (shape, (o, shape[-1]), (o,)))
    return x.to(device, dtype), (weight * shape[-1] ** -0.5).to(device, dtype), bias.to(device, dtype)


def assert_is_linear_and_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    out = linear_gelu(x, weight, bias)
    assert out.dtype == x.dtype
    tolerance = TOLERANCE[x.dtype]
    torch.testing.assert_close(out.cpu().double(), definition(x, weight, bias), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("rows", [1, 7, 17, 65, 130])
def test_any_number_of_rows(device: torch.device, rows: int) -> None:
    assert_is_linear_and_gelu(*inputs(device, rows, 32, o=64))


@pytest.mark.parametrize(("d", "o"), [(16, 16), (48, 192), (100, 40), (192, 384), (5, 3)])
def test_any_width(device: torch.device, d: int, o: int) -> None:
    assert_is_linear_and_gelu(*inputs(device, 2, 9, d, o=o))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_any_type(device: torch.device, dtype: torch.dtype) -> None:
    assert_is_linear_and_gelu(*inputs(device, 3, 50, 96, o=200, dtype=dtype))


def test_many_tiles_of_rows_and_columns_are_each_made_once(device: torch.device) -> None:
    # 18 x 3 tiles of 32: two groups of eight rows of tiles, and one of two.
    assert_is_linear_and_gelu(*inputs(device, 18 * 32 - 5, 16, o=3 * 32 - 1))


def test_gelu_is_the_exact_one_wherever_it_differs_from_its_limits(device: torch.device) -> None:
    z = torch.cat([torch.linspace(-9, 9, 4001), torch.tensor([0.0, -0.0, 1e-20, -1e-20, 60.0, -60.0])]).to(device)
    got = linear_gelu(z[:, None], torch.ones(1, 1, device=device), torch.zeros(1, device=device))[:, 0].cpu().double()
    exact = z.cpu().double()
    want = exact * torch.from_numpy(ndtr(exact.numpy()))
    assert (got - want).abs().max() < 1e-6, "the approximation by tanh is off by 5e-4"
    inner = exact.abs() < 5
    assert ((got - want).abs()[inner] <= 1e-5 * want.abs()[inner]).all(), "also where GELU is nearly zero"


def test_what_is_not_a_number_stays_visible(device: torch.device) -> None:
    x, weight, bias = inputs(device, 4, 16, o=16)
    x[1] = np.nan
    x[2] = 1e30
    out = linear_gelu(x, weight.abs(), bias)
    assert out[1].isnan().all()
    assert (out[2] > 1e29).all()
    assert out[[0, 3]].isfinite().all()


def test_views_are_read_as_what_they_show(device: torch.device) -> None:
    x, weight, bias = inputs(device, 4, 10, 32, o=64)
    assert_is_linear_and_gelu(x[:, :2], weight[::2], bias[::2])
    assert_is_linear_and_gelu(x.transpose(0, 1), weight, bias)


def test_no_rows_give_no_rows(device: torch.device) -> None:
    x, weight, bias = inputs(device, 0, 7, 32, o=64)
    assert linear_gelu(x, weight, bias).shape == (0, 7, 64)


def test_gradients_are_refused_and_not_dropped_in_silence(device: torch.device) -> None:
    x, weight, bias = inputs(device, 4, 32, o=64)
    with pytest.raises(ValueError, match="no backward pass.*linear_gelu_reference"):
        linear_gelu(x, weight.requires_grad_(), bias)
    with torch.no_grad():
        assert not linear_gelu(x, weight, bias).requires_grad


def test_the_reference_is_the_definition_too() -> None:
    tensors = inputs(torch.device("cpu"), 3, 5, 32, o=64, dtype=torch.float64)
    torch.testing.assert_close(linear_gelu_reference(*tensors), definition(*tensors))


@pytest.mark.parametrize("function", [linear_gelu, linear_gelu_reference])
def test_shapes_and_types_that_do_not_fit_are_named(function: object) -> None:
    x, weight, bias = inputs(torch.device("cpu"), 4, 32, o=64)
    with pytest.raises(ValueError, match=r"x has shape \(4, 31\), weight \(64, 32\)"):
        function(x[:, :31], weight, bias)  # type: ignore[operator]
    with pytest.raises(ValueError, match="weight torch.float16.*must be equal"):
        function(x, weight.half(), bias)  # type: ignore[operator]


def test_large_products_get_large_tiles_and_small_ones_enough_of_them() -> None:
    def programs(m: int) -> tuple[int, int]:
        tiling = linear_tiling(m, 3072, torch.bfloat16)
        return tiling.block_m * tiling.block_n, -(-m // tiling.block_m) * -(-3072 // tiling.block_n)

    (one, programs_of_one), (many, _) = programs(1214), programs(64 * 1214)
    assert many > one
    assert programs_of_one >= 132, "an H100 has as many multiprocessors"
