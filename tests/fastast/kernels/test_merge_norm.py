"""Residual sum, merging and LayerNorm in Triton against their definition, written in NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastast.kernels.flat_plan import FlatPlan
from fastast.kernels.merge_norm import merge_norm, merge_norm_reference

TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 3e-3, torch.bfloat16: 3e-2}
"""Relative to numbers of a few units: one rounding of the output."""
EPS = 1e-6


def random_plan(device: torch.device, b: int, n: int, r: int, *, into: int | None = None) -> FlatPlan:
    """A partition of each clip's tokens: `r` of them join slots drawn at random, or all the slot `into`."""
    g = torch.Generator().manual_seed(n + r)
    owners, starts, sources = [], [], []
    for _ in range(b):
        tokens = torch.randperm(n, generator=g)
        slots = torch.randint(n - r, (r,), generator=g) if into is None else torch.full((r,), into)
        order = slots.argsort(stable=True)
        owners.append(tokens[: n - r])
        sources.append(tokens[n - r :][order])
        starts.append(torch.cat([torch.zeros(1), torch.bincount(slots, minlength=n - r).cumsum(0)]))
    owner, start, source = (torch.stack(rows).to(device, torch.int32) for rows in (owners, starts, sources))
    return FlatPlan(owner=owner, start=start, source=source)


def definition(
    x: Tensor, y: Tensor, size: Tensor | None, plan: FlatPlan, weight: Tensor, bias: Tensor
) -> list[np.ndarray]:
    """Means, norms and sizes, by looking at each slot."""
    a, c, w, shift = (t.detach().cpu().double().numpy() for t in (x, y, weight, bias))
    sizes = np.ones(a.shape[:2]) if size is None else size.cpu().double().numpy()
    owner, start, source = (t.cpu().numpy() for t in (plan.owner, plan.start, plan.source))
    b, p, d = len(a), owner.shape[1], a.shape[2]
    merged, new_size = np.empty((b, p, d)), np.empty((b, p))
    for clip in range(b):
        for slot in range(p):
            tokens = [owner[clip, slot], *source[clip, start[clip, slot] : start[clip, slot + 1]]]
            share = sizes[clip, tokens]
            new_size[clip, slot] = share.sum()
            merged[clip, slot] = ((a[clip, tokens] + c[clip, tokens]) * share[:, None]).sum(0) / share.sum()
    centred = merged - merged.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPS) * w + shift
    return [merged, normed, new_size]


def inputs(device: torch.device, b: int, n: int, d: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """x, y, weight, bias; x far from zero mean, so that what is not subtracted shows."""
    g = torch.Generator().manual_seed(b + n + d)
    x, y = torch.randn(b, n, d, generator=g) + 3, torch.randn(b, n, d, generator=g)
    weight, bias = torch.randn(d, generator=g), torch.randn(d, generator=g)
    return [t.to(device, dtype) for t in (x, y, weight, bias)]


def random_sizes(device: torch.device, b: int, n: int) -> Tensor:
    return torch.randint(1, 300, (b, n), generator=torch.Generator().manual_seed(n)).float().to(device)


def assert_is_merged(tensors: list[Tensor], size: Tensor | None, plan: FlatPlan) -> None:
    x, y, weight, bias = tensors
    results = merge_norm(x, y, size, plan, weight, bias, EPS)
    for got, want in zip(results, definition(x, y, size, plan, weight, bias), strict=True):
        tolerance = TOLERANCE[got.dtype]
        np.testing.assert_allclose(got.double().cpu().numpy(), want, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("d", [1, 2, 7, 64, 192, 768])
def test_any_width(device: torch.device, d: int) -> None:
    assert_is_merged(inputs(device, 2, 8, d), random_sizes(device, 2, 8), random_plan(device, 2, 8, 3))


@pytest.mark.parametrize("sized", [False, True], ids=["first block", "sized"])
@pytest.mark.parametrize(("b", "n", "r"), [(1, 1, 0), (2, 2, 1), (3, 9, 4), (1, 50, 25), (2, 33, 0)])
def test_any_number_of_tokens(device: torch.device, b: int, n: int, r: int, sized: bool) -> None:
    size = random_sizes(device, b, n) if sized else None
    assert_is_merged(inputs(device, b, n, 24), size, random_plan(device, b, n, r))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_any_type(device: torch.device, dtype: torch.dtype) -> None:
    tensors = inputs(device, 2, 17, 96, dtype)
    assert_is_merged(tensors, random_sizes(device, 2, 17), random_plan(device, 2, 17, 6))
    assert merge_norm(*tensors[:2], None, random_plan(device, 2, 17, 6), *tensors[2:], EPS)[0].dtype == dtype


def test_all_tokens_of_silence_may_join_one_slot(device: torch.device) -> None:
    assert_is_merged(inputs(device, 1, 41, 16), random_sizes(device, 1, 41), random_plan(device, 1, 41, 19, into=3))


def test_norm_weights_may_be_wider_than_tokens(device: torch.device) -> None:
    x, y, _, _ = inputs(device, 2, 9, 32, torch.bfloat16)
    _, _, weight, bias = inputs(device, 2, 9, 32)
    assert_is_merged([x, y, weight, bias], None, random_plan(device, 2, 9, 4))


def test_a_sum_of_two_types_has_the_wider_one(device: torch.device) -> None:
    x, y, weight, bias = inputs(device, 1, 9, 32)
    plan = random_plan(device, 1, 9, 3)
    merged, normed, _ = merge_norm(x, y.half(), None, plan, weight, bias, EPS)
    reference, _, _ = merge_norm_reference(x, y.half(), None, plan, weight, bias, EPS)
    assert merged.dtype == normed.dtype == reference.dtype == torch.float32
    torch.testing.assert_close(merged, reference)


def test_sizes_stay_exact_in_half_precision(device: torch.device) -> None:
    # 256 + 1 is 256 in bfloat16.
    tensors = inputs(device, 1, 3, 16, torch.bfloat16)
    plan = FlatPlan(
        owner=torch.tensor([[0, 1]], dtype=torch.int32, device=device),
        start=torch.tensor([[0, 0, 1]], dtype=torch.int32, device=device),
        source=torch.tensor([[2]], dtype=torch.int32, device=device),
    )
    size = torch.tensor([[5.0, 256.0, 1.0]], device=device)
    _, _, new_size = merge_norm(*tensors[:2], size, plan, *tensors[2:], EPS)
    assert new_size.tolist() == [[5.0, 257.0]]


def test_a_slot_of_one_token_is_the_residual_sum_bit_for_bit(device: torch.device) -> None:
    x, y, weight, bias = inputs(device, 2, 12, 48)
    plan = random_plan(device, 2, 12, 5)
    merged, _, _ = merge_norm(x, y, random_sizes(device, 2, 12), plan, weight, bias, EPS)
    alone = plan.start.diff() == 0
    owned = (x + y).gather(1, plan.owner.long()[..., None].expand(-1, -1, 48))
    assert torch.equal(merged[alone], owned[alone])


def test_the_reference_agrees(device: torch.device) -> None:
    x, y, weight, bias = inputs(device, 2, 20, 48)
    for size in (None, random_sizes(device, 2, 20)):
        plan = random_plan(device, 2, 20, 7)
        got = merge_norm(x, y, size, plan, weight, bias, EPS)
        want = merge_norm_reference(x, y, size, plan, weight, bias, EPS)
        for part, expected in zip(got, want, strict=True):
            torch.testing.assert_close(part, expected, atol=1e-5, rtol=1e-5)


def test_rows_that_are_not_contiguous(device: torch.device) -> None:
    x, y, weight, bias = inputs(device, 2, 20, 48)
    assert_is_merged([x[:, ::2], y[:, ::2], weight, bias], None, random_plan(device, 2, 10, 4))


@pytest.mark.parametrize("function", [merge_norm, merge_norm_reference])
def test_what_does_not_fit_is_named(function: object) -> None:
    cpu = torch.device("cpu")
    x, weight, plan = torch.zeros(2, 9, 8), torch.zeros(8), random_plan(cpu, 2, 9, 3)
    with pytest.raises(ValueError, match=r"x has shape \(2, 9, 8\) and y \(2, 8, 8\)"):
        function(x, x[:, 1:], None, plan, weight, weight, EPS)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"weight has shape \(7,\).*both must be \(8,\)"):
        function(x, x, None, plan, weight[1:], weight, EPS)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"size is torch.float32 of shape \(2, 8\); it must be float32 of \(2, 9\)"):
        function(x, x, torch.ones(2, 8), plan, weight, weight, EPS)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"size is torch.bfloat16"):
        function(x, x, torch.ones(2, 9).bfloat16(), plan, weight, weight, EPS)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"the plan is for 2 clips of 10 tokens, x has 2 of 9"):
        function(x, x, None, random_plan(cpu, 2, 10, 3), weight, weight, EPS)  # type: ignore[operator]
    wide = FlatPlan(owner=plan.owner.long(), start=plan.start, source=plan.source)
    with pytest.raises(ValueError, match=r"the plan must be int32"):
        function(x, x, None, wide, weight, weight, EPS)  # type: ignore[operator]
