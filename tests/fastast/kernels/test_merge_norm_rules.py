"""Plans that drop and weigh, and every rule by which a slot's tokens become one: the kernel against plain torch.

What plain torch does is held against NumPy in tests/fastast/reduction/test_combine.py.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastast.kernels.flat_plan import FlatPlan
from fastast.kernels.merge_norm import merge_norm, merge_norm_reference
from fastast.reduction import MergePlan
from tests.fastast.kernels.test_merge_norm import EPS, inputs, random_sizes

RULES = ("size", "mean", "norm", "keep")
N, P = 13, 6


def plan_on(device: torch.device, *, drops: bool, weighted: bool) -> FlatPlan:
    """Two clips of N tokens to P slots: one takes five tokens, others one to three, and some may be dropped."""
    slots = torch.tensor([[0, 1, 2, 2, 3, 4, 2, 5, 2, 2, 0, 4, 4], [5, 5, 4, 3, 2, 1, 0, 0, 0, 1, 2, 3, 0]])
    if drops:
        slots[0, 8], slots[1, 12], slots[1, 10] = -1, -1, -1
    weight = torch.rand(2, N, generator=torch.Generator().manual_seed(1)) + 0.1 if weighted else None
    plan = MergePlan.from_slots(slots.to(device), P, weight=None if weight is None else weight.to(device), drops=drops)
    return FlatPlan.of(plan, 2, device)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("drops", [False, True], ids=["kept", "dropped"])
@pytest.mark.parametrize("weighted", [False, True], ids=["by size", "by weight"])
def test_every_rule_over_every_kind_of_plan(device: torch.device, rule: str, drops: bool, weighted: bool) -> None:
    x, y, weight, bias = inputs(device, 2, N, 24)
    plan = plan_on(device, drops=drops, weighted=weighted)
    for size in (None, random_sizes(device, 2, N)):
        got = merge_norm(x, y, size, plan, weight, bias, EPS, combine=rule)
        want = merge_norm_reference(x, y, size, plan, weight, bias, EPS, combine=rule)
        for ours, theirs in zip(got, want, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)


def gradients(function, tensors: list[Tensor], size: Tensor, plan: FlatPlan, rule: str) -> tuple[Tensor, ...]:
    merged, normed, _ = function(*tensors[:2], size, plan, *tensors[2:], EPS, combine=rule)
    ramp = torch.linspace(-1, 1, merged.numel(), device=merged.device, dtype=merged.dtype).view_as(merged)
    return torch.autograd.grad((merged * ramp + normed * ramp.flip(0)).sum(), tensors)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["size", "mean", "keep"])
@pytest.mark.parametrize("weighted", [False, True], ids=["by size", "by weight"])
def test_gradients_are_autograds_and_zero_for_what_is_dropped(device: torch.device, rule: str, weighted: bool) -> None:
    tensors = [tensor.requires_grad_() for tensor in inputs(device, 2, N, 24)]
    plan, size = plan_on(device, drops=True, weighted=weighted), random_sizes(device, 2, N)
    got = gradients(merge_norm, tensors, size, plan, rule)
    for ours, theirs in zip(got, gradients(merge_norm_reference, tensors, size, plan, rule), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4)
    assert got[0][0, 8].abs().max() == 0


def test_the_longest_token_has_no_gradient_on_the_kernel(device: torch.device) -> None:
    tensors = [tensor.requires_grad_() for tensor in inputs(device, 2, N, 24)]
    plan = plan_on(device, drops=False, weighted=False)
    with pytest.raises(ValueError, match="combine='norm' has no backward pass"):
        merge_norm(*tensors[:2], None, plan, *tensors[2:], EPS, combine="norm")
