"""A plan in the kernels' form is the same partition, and says so of every token."""

from __future__ import annotations

import pytest
import torch

import fastast
from fastast.engine.forward import PackedForward
from fastast.engine.kernel_table import reference_kernels
from fastast.engine.weights import pack
from fastast.hosts import reduce
from fastast.kernels.flat_plan import FlatPlan
from fastast.reduction import AttachedReduction, MergePlan, MergeTrace

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("plan", "slots"),
    [
        (MergePlan(num_tokens=5, owner=torch.tensor([[0, 1, 3]])), [0, 1, -1, 2, -1]),
        (MergePlan(num_tokens=5, owner=slice(0, 3)), [0, 1, 2, -1, -1]),
        (MergePlan(num_tokens=3, owner=slice(0, 3)), [0, 1, 2]),
        (MergePlan.from_slots(torch.tensor([[0, 1, -1, 1, -1]]), 2), [0, 1, -1, 1, -1]),
        (MergePlan.from_slots(torch.tensor([[0, 1, 0, 1]]), 2, drops=False), [0, 1, 0, 1]),
    ],
)
def test_every_token_has_the_slot_that_the_plan_gave_it(plan: MergePlan, slots: list[int]) -> None:
    assert plan.slot(1, CPU).tolist() == [slots]
    assert FlatPlan.of(plan, 1, CPU).to_merge_plan().slot(1, CPU).tolist() == [slots]


@pytest.mark.parametrize("method", ["slice", "random", "topk"])
@torch.no_grad()
def test_the_engines_trace_keeps_the_class_token(small_model, small_fbank, method) -> None:
    reduction = fastast.TokenReduction(schedule="list:5,5,0", method=method)
    traces = MergeTrace(), MergeTrace()
    attached = AttachedReduction.of(reduction, small_model.encoder)
    PackedForward(pack(small_model, dtype=torch.float32, device=CPU), attached, reference_kernels())(
        small_fbank, traces[0]
    )
    with reduce(small_model, reduction):
        small_model(small_fbank, traces[1])
    for ours, plain in zip(traces[0].source, traces[1].source, strict=False):
        assert torch.equal(ours, plain)
        assert ours[:, :2].tolist() == [[0, 1]] * 2
