"""Matching in Triton against every similarity written out, in NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.kernels.best_partner import best_partner, best_partner_reference, matching_tiling


def unit(device: torch.device, b: int, n: int, e: int, dtype: torch.dtype = torch.float32) -> Tensor:
    metric = torch.randn(b, n, e, generator=torch.Generator().manual_seed(n * e), dtype=torch.float64)
    return F.normalize(metric, dim=-1).to(device, dtype)


def definition(metric: Tensor, num_protected: int) -> tuple[np.ndarray, np.ndarray]:
    """Best similarity and partner of every token of A, by looking at each pair."""
    tokens = metric.cpu().double().numpy()
    b, n, _ = tokens.shape
    best = np.full((b, (n + 1) // 2), -np.inf)
    partner = np.zeros(best.shape, int)
    for clip in range(b):
        for even in range(0, n, 2):
            for odd in range(1, n, 2):
                if even < num_protected or odd < num_protected:
                    continue
                similarity = tokens[clip, even] @ tokens[clip, odd]
                if similarity > best[clip, even // 2]:
                    best[clip, even // 2], partner[clip, even // 2] = similarity, odd // 2
    return best, partner


def assert_matches(metric: Tensor, num_protected: int) -> None:
    best, partner = best_partner(metric, num_protected)
    assert (best.dtype, partner.dtype) == (torch.float32, torch.int32)
    want_best, want_partner = definition(metric, num_protected)
    np.testing.assert_array_equal(partner.cpu().numpy(), want_partner)
    np.testing.assert_allclose(best.cpu().numpy(), want_best, atol=1e-6, rtol=0)
    reference, reference_partner = best_partner_reference(metric, num_protected)
    torch.testing.assert_close(best, reference, atol=1e-6, rtol=0)
    assert torch.equal(partner, reference_partner)


@pytest.mark.parametrize("num_protected", [0, 1, 2, 5])
@pytest.mark.parametrize(("b", "n"), [(1, 1), (2, 2), (1, 3), (3, 6), (2, 37), (1, 150)])
def test_any_number_of_tokens(device: torch.device, b: int, n: int, num_protected: int) -> None:
    assert_matches(unit(device, b, n, 16), num_protected)


@pytest.mark.parametrize("e", [1, 7, 48, 64, 80, 130])
def test_any_width(device: torch.device, e: int) -> None:
    assert_matches(unit(device, 1, 20, e), 2)


def test_float64(device: torch.device) -> None:
    assert_matches(unit(device, 1, 20, 8, torch.float64), 1)


def test_the_tiles_of_large_batches(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastast.kernels.best_partner.FEW_PROGRAMS", 1)
    assert matching_tiling(16, torch.float32, 70, 2).block_m == 64
    assert_matches(unit(device, 2, 139, 16), 2)


@pytest.mark.parametrize("num_protected", [0, 1, 2])
def test_ties_go_to_the_lower_index_within_and_across_tiles(device: torch.device, num_protected: int) -> None:
    # One of four axes each: similarities are exactly 0 or 1, and nearly every token has many equal partners.
    axis = torch.randint(4, (2, 150), generator=torch.Generator().manual_seed(0))
    assert_matches(F.one_hot(axis, 16).float().to(device), num_protected)
    assert_matches(torch.zeros(1, 150, 16, device=device), num_protected)


def test_all_opposite_is_still_matched(device: torch.device) -> None:
    metric = torch.tensor([1.0, -1.0]).repeat(10).reshape(1, 20, 1).expand(1, 20, 16).to(device) / 4
    best, partner = best_partner(metric, 2)
    assert best[0].tolist() == [-torch.inf, *[-1.0] * 9]
    assert partner[0].tolist() == [0, *[1] * 9]


def test_what_is_not_a_number_names_a_partner_that_exists(device: torch.device) -> None:
    metric = unit(device, 1, 40, 16)
    metric[0, 10] = torch.nan
    metric[0, 21] = torch.nan
    best, partner = best_partner(metric, 2)
    assert ((partner >= 0) & (partner < 20)).all()
    others = [i for i in range(20) if i != 5]
    clean = metric.clone()
    clean[0, 21] = 0.0
    assert torch.equal(best[0, others], best_partner(clean, 2)[0][0, others])


def test_similarities_keep_float32_digits(device: torch.device) -> None:
    # Partners that differ in the twelfth bit: the matrix units' tf32 keeps eleven.
    metric = torch.zeros(1, 4, 16, device=device)
    metric[0, 0, 0] = metric[0, 2, 0] = 1.0
    metric[0, 1, 0], metric[0, 3, 0] = 0.5, 0.5 + 2**-14
    for products in ("ieee", "tf32x3"):
        best, partner = best_partner(metric, 0, products=products)  # type: ignore[arg-type]
        assert partner.tolist() == [[1, 1]], products
        assert best.tolist() == [[0.5 + 2**-14] * 2], products


def test_three_products_of_parts_agree_with_exact_ones(device: torch.device) -> None:
    metric = unit(device, 2, 150, 64)
    best, _ = best_partner(metric, 2, products="tf32x3")
    np.testing.assert_allclose(best.cpu().numpy(), definition(metric, 2)[0], atol=2e-6, rtol=0)


@pytest.mark.parametrize("function", [best_partner, best_partner_reference])
def test_what_cannot_be_matched_is_named(function: object) -> None:
    with pytest.raises(ValueError, match=r"the metric has shape \(2, 3\)"):
        function(torch.zeros(2, 3), 0)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"float16; give float32"):
        function(torch.zeros(1, 4, 8).half(), 0)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"num_protected = -1"):
        function(torch.zeros(1, 4, 8), -1)  # type: ignore[operator]


def test_unknown_products_are_named() -> None:
    with pytest.raises(ValueError, match=r"products = 'tf32'; allowed: ieee, tf32x3"):
        best_partner(torch.zeros(1, 4, 8), 0, products="tf32")  # type: ignore[arg-type]
