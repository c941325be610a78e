"""Buckets of clips that differ in length: cuts against all that are possible, answers against whole batches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from fastast import TokenReduction
from fastast.hosts import reduce
from fastast.reduction import MergePlan, MergeTrace
from fastast.reduction.forward.buckets import WORTH, Bucket, buckets, joined
from fastast.reduction.forward.lineage import Lineage

SCHEDULE = "list:0,25,8"


def sizes_of(lengths: list[int], slots: int) -> torch.Tensor:
    return (torch.arange(slots) < torch.tensor(lengths)[:, None]).float() * 2


def slots_of(found) -> int:
    return sum(len(bucket.clips) * bucket.slots for bucket in found)


@pytest.mark.parametrize("seed", range(20))
def test_every_clip_is_in_one_bucket_that_has_room_for_it(seed) -> None:
    lengths = np.random.default_rng(seed).integers(1, 50, size=1 + seed).tolist()
    found = buckets(sizes_of(lengths, 50))
    assert sorted(clip for bucket in found for clip in bucket.clips.tolist()) == list(range(len(lengths)))
    for bucket in found:
        assert bucket.slots == max(lengths[clip] for clip in bucket.clips)
    whole = len(lengths) * max(lengths)
    assert slots_of(found) <= (whole if len(found) == 1 else (1 - WORTH) * whole)


@pytest.mark.parametrize("seed", range(20))
def test_two_buckets_are_the_best_two(seed) -> None:
    """No division of the clips in two, in whatever order, takes fewer slots than the first cut."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 50, size=7).tolist()
    costs = []
    for chosen in itertools.product([False, True], repeat=7):
        parts = [[n for n, one in zip(lengths, chosen, strict=True) if one is side] for side in (False, True)]
        costs.append(sum(len(part) * max(part) for part in parts if part))
    best = min(costs)
    found = buckets(sizes_of(lengths, 50))
    assert slots_of(found) <= best or (len(found) == 1 and best > (1 - WORTH) * 7 * max(lengths))


def test_alike_clips_stay_together_and_a_long_one_goes_alone() -> None:
    assert [bucket.clips.tolist() for bucket in buckets(sizes_of([20, 20, 19, 20], 30))] == [[2, 0, 1, 3]]
    assert [(b.clips.tolist(), b.slots) for b in buckets(sizes_of([10, 40, 10, 10], 50))] == [
        ([0, 2, 3], 10),
        ([1], 40),
    ]
    assert len(buckets(sizes_of([7], 9))) == 1


def test_joined_puts_clips_back_with_nothing_behind_them() -> None:
    lengths = [10, 40, 12, 30]
    x = torch.rand(4, 50, 3) * (sizes_of(lengths, 50) > 0).unsqueeze(-1)
    found = buckets(sizes_of(lengths, 50))
    assert len(found) > 1
    torch.testing.assert_close(joined([bucket.of(x) for bucket in found], found), x[:, :40], rtol=0, atol=0)


@pytest.fixture
def clips(small_fbank) -> torch.Tensor:
    """Six clips, of which half are silent but for their beginning: they merge more."""
    noise = torch.randn(6, *small_fbank.shape[1:], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    noise[::2, 12:] = 0
    return noise


def parts_of(model, clips, reduction, trace=None) -> tuple[torch.Tensor, list[int], list[torch.Tensor]]:
    """Logits, how many clips each run of the last block had, and the gradients of its parameters' first."""
    runs: list[int] = []
    handle = model.blocks[-1].mlp.register_forward_pre_hook(lambda _, given: runs.append(len(given[0])))
    model.zero_grad()
    with reduce(model, reduction, attention="mask"):
        logits = model(clips, trace)
    handle.remove()
    logits.pow(2).sum().backward()
    return logits.detach(), runs, [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("place", ["before", "between", "after"])
@pytest.mark.parametrize(
    "values", [{}, {"method": "local"}, {"method": "algm"}, {"combine": "norm"}, {"order": "position"}]
)
def test_apart_clips_answer_as_together(small_model, clips, place, values, monkeypatch) -> None:
    monkeypatch.setattr("fastast.reduction.forward.buckets.WORTH", 0.02)  # these tokens are few
    model = small_model.double()
    threshold = 0.75 if place == "before" else 0.9
    reduction = TokenReduction.from_dict({"schedule": SCHEDULE, "threshold": threshold, "place": place, **values})
    apart, runs, gradients = parts_of(model, clips, reduction)
    trace = MergeTrace()
    together, whole, expected = parts_of(model, clips, reduction, trace)  # who traces sees the batch as one
    assert len(runs) > 1, trace.counts()
    assert sum(runs) == 6
    assert whole == [6]
    torch.testing.assert_close(apart, together, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradients, expected, rtol=1e-8, atol=1e-9)


def test_features_are_those_of_the_whole_batch(small_model, clips, monkeypatch) -> None:
    monkeypatch.setattr("fastast.reduction.forward.buckets.WORTH", 0.02)
    reduction = TokenReduction.from_dict({"schedule": SCHEDULE, "threshold": 0.75, "place": "before"})
    model, trace = small_model.double(), MergeTrace()
    with reduce(model, reduction), torch.no_grad():
        apart, together = model.forward_features(clips), model.forward_features(clips, trace)
    counts = trace.counts()[:, -1].tolist()
    assert apart.shape == together.shape
    for clip, count in enumerate(counts):
        torch.testing.assert_close(apart[clip, :count], together[clip, :count], rtol=1e-9, atol=1e-9)


def test_without_a_threshold_a_batch_stays_whole(small_model, clips) -> None:
    _, runs, _ = parts_of(small_model.double(), clips, TokenReduction.from_dict({"schedule": SCHEDULE}))
    assert runs == [6]


def test_a_bucket_s_tokens_come_from_where_they_did_in_the_batch() -> None:
    slots = torch.tensor([[0, 1, 0, 2, 3], [0, 1, 2, 2, 3], [0, 1, 2, 3, 3]])  # of a prefix token and four patches
    whole = Lineage(1, (2, 2)).merged(MergePlan.from_slots(slots, 4), None)
    part = whole.part(Bucket(clips=torch.tensor([2, 0]), slots=3), batch=3)
    cpu = torch.device("cpu")
    torch.testing.assert_close(part.owners(2, cpu), whole.owners(3, cpu)[[2, 0], :3])
    torch.testing.assert_close(part.centres(2, cpu), whole.centres(3, cpu)[[2, 0], :3])
    assert part.centres(2, cpu)[1].tolist() != whole.centres(3, cpu)[1, :3].tolist()
