"""MergePlan: averages, sizes and maps, computed by hand and by loops."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastast.reduction import MergePlan, MergeTrace, source_sizes, unmerge


def plan_of(owner: list[int], merged: list[int], target: list[int], n: int) -> MergePlan:
    def rows(index: list[int]) -> torch.Tensor:
        return torch.tensor([index], dtype=torch.int64)  # an empty list would be float

    return MergePlan(num_tokens=n, owner=rows(owner), merged=rows(merged), target=rows(target))


def test_a_merge_by_hand() -> None:
    # Tokens 1 and 3 join token 0; token 4 joins token 2.
    plan = plan_of([0, 2], [1, 3, 4], [0, 0, 1], 5)
    x = torch.tensor([[[1.0], [2.0], [10.0], [3.0], [30.0]]])
    merged, size = plan.merge(x, None)
    assert merged.flatten().tolist() == [2.0, 20.0]
    assert size is not None
    assert size.tolist() == [[3.0, 2.0]]
    merged, size = plan.merge(x, torch.tensor([[1.0, 1.0, 3.0, 2.0, 1.0]]))
    assert merged.flatten().tolist() == [(1 + 2 + 2 * 3) / 4, (3 * 10 + 30) / 4]
    assert size is not None
    assert size.tolist() == [[4.0, 4.0]]
    assert plan.slot(1, x.device).tolist() == [[0, 0, 1, 0, 1]]


def test_sizes_above_256_stay_whole_in_half_precision() -> None:
    # bfloat16 has no 257 and no 301: sizes kept in it would stop counting.
    plan = plan_of([0], [1], [0], 2)
    x = torch.ones(1, 2, 4, dtype=torch.bfloat16)
    merged, size = plan.merge(x, torch.tensor([[300.0, 1.0]]))
    assert size is not None
    assert size.dtype == torch.float32
    assert size.item() == 301
    assert merged.dtype == torch.bfloat16


def test_a_slice_keeps_tokens_and_drops_the_rest() -> None:
    plan = MergePlan(num_tokens=5, owner=slice(0, 3))
    x = torch.arange(10.0).reshape(1, 5, 2)
    kept, size = plan.merge(x, None)
    assert torch.equal(kept, x[:, :3])
    assert size is None
    assert plan.slot(1, x.device).tolist() == [[0, 1, 2, -1, -1]]
    assert torch.equal(plan.merge(x, torch.arange(1.0, 6)[None])[1], torch.tensor([[1.0, 2.0, 3.0]]))


@st.composite
def partitions(draw: st.DrawFn) -> tuple[MergePlan, np.ndarray]:
    """A random partition of n tokens into slots, and the slot of every token."""
    n = draw(st.integers(2, 20))
    p = draw(st.integers(1, n))
    order = np.array(draw(st.permutations(range(n))))
    owner, merged = order[:p], order[p:]
    target = np.array(draw(st.lists(st.integers(0, p - 1), min_size=n - p, max_size=n - p)), dtype=np.int64)
    slot = np.empty(n, dtype=np.int64)
    slot[owner], slot[merged] = np.arange(p), target
    return plan_of(owner.tolist(), merged.tolist(), target.tolist(), n), slot


@given(partitions(), st.integers(0, 2**31))
def test_a_merge_is_the_weighted_mean_of_every_slot(drawn: tuple[MergePlan, np.ndarray], seed: int) -> None:
    plan, slot = drawn
    rng = np.random.default_rng(seed)
    x, size = rng.standard_normal((len(slot), 3)), rng.integers(1, 50, len(slot)).astype(np.float64)
    merged, new_size = plan.merge(torch.from_numpy(x)[None], torch.from_numpy(size).float()[None])
    assert new_size is not None
    for i in range(plan.num_slots):
        members = slot == i
        np.testing.assert_allclose(merged[0, i].numpy(), np.average(x[members], axis=0, weights=size[members]))
        assert new_size[0, i].item() == size[members].sum()


def test_a_trace_follows_tokens_through_merges_and_drops() -> None:
    trace = MergeTrace()
    two, one = (torch.zeros(1, n, 3) for n in (2, 1))
    trace.add(plan_of([0, 2], [1, 3], [0, 1], 4), 4, two)  # {0, 1}, {2, 3}
    trace.add(None, 2, two)
    trace.add(MergePlan(num_tokens=2, owner=slice(1, 2)), 2, one)  # drops {0, 1}
    assert [s.tolist() for s in trace.source] == [[[0, 0, 1, 1]], [[0, 0, 1, 1]], [[-1, -1, 0, 0]]]
    assert trace.tokens_per_block == [2, 2, 1]
    assert source_sizes(trace.source[-1], 1).tolist() == [[2]]
    assert unmerge(torch.tensor([[[7.0]]]), trace.source[-1]).flatten().tolist() == [0, 0, 7, 7]
