"""The metric of token merging in Triton against its definition, written in NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastast.kernels.key_metric import FEW_PROGRAMS, key_metric, key_metric_reference, key_metric_tiling

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-6, torch.bfloat16: 2e-6}
"""The same for all half precisions: what is read is rounded, what is computed is not."""


def definition(qkv: Tensor, num_heads: int) -> np.ndarray:
    b, n, width = qkv.shape
    values = qkv.detach().cpu().double().numpy().reshape(b, n, 3, num_heads, width // 3 // num_heads)
    keys = values[:, :, 1].mean(2)
    length = np.sqrt((keys**2).sum(-1, keepdims=True))
    return keys / np.maximum(length, 1e-12)


def random_qkv(device: torch.device, b: int, n: int, h: int, e: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(b, n, 3 * h * e, generator=torch.Generator().manual_seed(n + e)).to(device, dtype)


def assert_is_the_metric(qkv: Tensor, num_heads: int) -> None:
    metric = key_metric(qkv, num_heads)
    tolerance = TOLERANCE[qkv.dtype]
    np.testing.assert_allclose(metric.cpu().numpy(), definition(qkv, num_heads), atol=tolerance, rtol=0)
    torch.testing.assert_close(metric, key_metric_reference(qkv, num_heads), atol=tolerance, rtol=0)


@pytest.mark.parametrize(("h", "e"), [(1, 1), (3, 64), (2, 80), (12, 16), (5, 7)])
def test_any_heads_of_any_width(device: torch.device, h: int, e: int) -> None:
    assert_is_the_metric(random_qkv(device, 2, 5, h, e), h)


@pytest.mark.parametrize(("b", "n"), [(1, 1), (3, 17), (1, 130)])
def test_any_number_of_tokens(device: torch.device, b: int, n: int) -> None:
    assert_is_the_metric(random_qkv(device, b, n, 2, 16), 2)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_half_precision_is_widened_before_the_mean(device: torch.device, dtype: torch.dtype) -> None:
    qkv = random_qkv(device, 2, 9, 3, 32, dtype)
    assert_is_the_metric(qkv, 3)
    assert key_metric(qkv, 3).dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_a_mean_key_of_zero_stays_zero(device: torch.device) -> None:
    qkv = random_qkv(device, 1, 4, 2, 8)
    qkv.view(1, 4, 3, 2, 8)[0, 2, 1] = 0.0
    keys = qkv.view(1, 4, 3, 2, 8)[0, 3, 1]
    keys[1] = -keys[0]  # the heads cancel out
    metric = key_metric(qkv, 2)
    assert metric[0, 2:].tolist() == [[0.0] * 8] * 2
    torch.testing.assert_close(metric[0, :2].norm(dim=-1).cpu(), torch.ones(2))


def test_equal_tokens_have_equal_metrics_wherever_they_stand(device: torch.device) -> None:
    qkv = random_qkv(device, 1, 1, 3, 24).expand(2, 37, -1).contiguous()
    assert len(key_metric(qkv, 3).flatten(0, 1).unique(dim=0)) == 1


def test_what_is_not_contiguous_and_wants_gradients_is_read_all_the_same(device: torch.device) -> None:
    qkv = random_qkv(device, 4, 10, 2, 8)
    part = qkv[:, ::2].requires_grad_()
    metric = key_metric(part, 2)
    torch.testing.assert_close(metric, key_metric(qkv, 2)[:, ::2])
    assert not metric.requires_grad, "a choice has no gradient"


def test_the_reference_has_gradients() -> None:
    qkv = torch.randn(1, 3, 24, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: key_metric_reference(t, 2), qkv)


@pytest.mark.parametrize("function", [key_metric, key_metric_reference])
def test_a_width_that_heads_do_not_divide_is_named(function: object) -> None:
    with pytest.raises(ValueError, match=r"qkv has shape \(1, 2, 30\).*4 heads divide"):
        function(torch.zeros(1, 2, 30), 4)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"num_heads = 0"):
        function(torch.zeros(1, 2, 30), 0)  # type: ignore[operator]


def test_a_single_clip_has_programs_for_most_of_the_processors() -> None:
    one, many = key_metric_tiling(64, 1214), key_metric_tiling(64, 64 * 1214)
    assert -(-1214 // one.block_m) >= 132
    assert many.block_m > one.block_m
    assert -(-64 * 1214 // many.block_m) >= FEW_PROGRAMS
