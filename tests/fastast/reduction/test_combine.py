"""How the tokens of a slot become one: every rule against NumPy, weights, drops, and plans from slots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast.kernels.flat_plan import FlatPlan
from fastast.reduction import MergePlan
from fastast.reduction.combine import take_rows

CPU = torch.device("cpu")
RULES = ("size", "mean", "norm", "keep")


@st.composite
def slots(draw: st.DrawFn) -> tuple[np.ndarray, int, np.random.Generator]:
    """Slots (n,) of 1 to 12 tokens, every slot with a token, some tokens dropped; how many slots; numbers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    p = draw(st.integers(1, 6))
    n = p + draw(st.integers(0, 6))
    slot = np.concatenate([np.arange(p), rng.integers(-1, p, n - p)])
    return rng.permutation(slot), p, rng


def by_hand(
    slot: np.ndarray, p: int, x: np.ndarray, size: np.ndarray, weight: np.ndarray | None, rule: str
) -> tuple[np.ndarray, np.ndarray]:
    """One token per slot, and sizes, as the words say it: the first token of a slot owns it."""
    out, sizes = [], []
    for i in range(p):
        members = np.flatnonzero(slot == i)
        sizes.append(size[members].sum())
        if rule == "keep":
            out.append(x[members[0]])
            continue
        shares = np.ones(len(members)) if rule == "mean" else size[members]
        shares = shares if weight is None else weight[members]
        mean = (x[members] * (shares / shares.sum())[:, None]).sum(0)
        if rule == "norm" and len(members) > 1:
            mean *= np.linalg.norm(x[members], axis=1).max() / np.linalg.norm(mean)
        out.append(mean)
    return np.array(out), np.array(sizes)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("weighted", [False, True])
@given(slots())
@settings(max_examples=40)
def test_every_rule_is_what_its_words_say(rule: str, weighted: bool, drawn) -> None:
    slot, p, rng = drawn
    n = len(slot)
    x, size = rng.standard_normal((n, 3)), rng.integers(1, 9, n).astype(float)
    weight = rng.uniform(0.1, 2, n) if weighted else None
    plan = MergePlan.from_slots(
        torch.from_numpy(slot)[None], p, weight=None if weight is None else torch.from_numpy(weight)[None]
    )
    expected, sizes = by_hand(slot, p, x, size, weight, rule)
    for form in (plan, FlatPlan.of(plan, 1, CPU).to_merge_plan()):
        merged, new_size = form.merge(torch.from_numpy(x)[None], torch.from_numpy(size).float()[None], rule)
        np.testing.assert_allclose(merged[0].numpy(), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(new_size[0].numpy(), sizes)
        np.testing.assert_array_equal(form.slot(1, CPU)[0].numpy(), slot)


@given(slots())
@settings(max_examples=40)
def test_a_flat_plan_lists_every_slot_in_order_and_sums_exactly(drawn) -> None:
    slot, p, rng = drawn
    size = rng.integers(1, 400, len(slot))
    flat = FlatPlan.of(MergePlan.from_slots(torch.from_numpy(slot)[None], p), 1, CPU)
    for i in range(p):
        members = [int(flat.owner[0, i]), *flat.source[0, flat.start[0, i] : flat.start[0, i + 1]].tolist()]
        assert members == np.flatnonzero(slot == i).tolist()
    expected = [size[slot == i].sum() for i in range(p)]
    assert flat.sum(torch.from_numpy(size).float()[None])[0].tolist() == expected


def test_tokens_that_are_dropped_leave_no_trace() -> None:
    slot = torch.tensor([[0, -1, 0, 1]])
    x = torch.tensor([[[1.0], [float("nan")], [3.0], [5.0]]])
    x[0, 1] = 1e30
    merged, size = MergePlan.from_slots(slot, 2).merge(x, None)
    assert merged.flatten().tolist() == [2.0, 5.0]
    assert size.tolist() == [[2.0, 1.0]]


def test_gradients_flow_through_averages_and_not_to_what_is_dropped() -> None:
    x = torch.arange(4.0, dtype=torch.float64).view(1, 4, 1).requires_grad_()
    plan = MergePlan.from_slots(torch.tensor([[0, -1, 0, 1]]), 2, weight=torch.tensor([[1.0, 1.0, 3.0, 1.0]]))
    plan.merge(x, None)[0].sum().backward()
    assert x.grad.flatten().tolist() == [0.25, 0.0, 0.75, 1.0]


@pytest.mark.parametrize("batch", [1, 3])
def test_rows_that_are_taken_are_those_of_the_same_clip(batch: int) -> None:
    x = torch.randn(batch, 7, 4, generator=torch.Generator().manual_seed(0))
    index = torch.stack([torch.randperm(7, generator=torch.Generator().manual_seed(clip))[:5] for clip in range(batch)])
    by_numpy = np.take_along_axis(x.numpy(), index.numpy()[..., None], axis=1)
    np.testing.assert_array_equal(take_rows(x, index).numpy(), by_numpy)
    trailing = x.unflatten(2, (2, 2))  # (b, n, 2, 2)
    assert torch.equal(take_rows(trailing, index).flatten(2), take_rows(x, index))
    expected = x.clone().requires_grad_()
    take_rows(expected, index).sum().backward()
    assert expected.grad is not None
    np.testing.assert_array_equal((expected.grad[..., 0] > 0).sum(1).numpy(), np.full(batch, 5))
