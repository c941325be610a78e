"""PiToMe, ToFu and ToMe's partitions, each against loops over one clip."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast.geometry import Geometry
from fastast.reduction import ReductionError, TokenReduction, get_method
from fastast.reduction.choosing.partition import part
from fastast.schedule import Constant
from tests.fastast.reduction.methods.clips import (
    DEPTH,
    PREFIX,
    Clip,
    best_pairs,
    groups,
    pairs_as_groups,
    tokens_of,
)

SEEDS = st.integers(0, 2**31)


def by_cosine(clip: Clip, sources: list[int], targets: list[int]) -> dict[tuple[int, int], tuple[float, ...]]:
    return {(a, b): (clip.cosine(a, b),) for a in sources for b in targets}


def pitome_pairs(clip: Clip, r: int, margin: float, alpha: float) -> list[tuple[int, int]]:
    energy = {}
    for i in clip.free:
        total = 0.0
        for j in clip.free:
            if j != i:
                x = clip.cosine(i, j)
                total += x if x >= margin else alpha * (math.exp(x - margin) - 1)
        energy[i] = total / len(clip.free)
    ranked = sorted(energy, key=lambda i: (-energy[i], i))[: 2 * r]
    return [(a, max(sorted(ranked[1::2]), key=lambda b: clip.cosine(a, b))) for a in ranked[::2]]


@settings(max_examples=4)
@given(SEEDS, st.integers(1, 8))
@pytest.mark.parametrize("block", [0, 3])
def test_pitome_merges_the_tokens_of_the_highest_energy(block: int, seed: int, r: int) -> None:
    tokens, clips = tokens_of(seed, block=block)
    plan = get_method("pitome")(tokens, r)
    for i, clip in enumerate(clips):
        made, dropped = groups(plan, i)
        assert made == pairs_as_groups(clip, pitome_pairs(clip, r, 0.9 - 0.9 * block / DEPTH, 1.0))
        assert not dropped
        assert plan.merge_sizes(tokens.size, 2, tokens.device)[i].sum() == clip.size.sum()
    assert torch.equal(plan.owner, plan.owner.sort(dim=1).values)


@settings(max_examples=4)
@given(SEEDS, st.floats(-1, 1), st.floats(0, 3))
def test_pitome_takes_its_margin_and_alpha(seed: int, margin: float, alpha: float) -> None:
    method = get_method("pitome")
    tokens, clips = tokens_of(seed, block=1)
    plan = method(tokens, 5, method.options(margin=margin, alpha=alpha))
    for i, clip in enumerate(clips):
        expected = pairs_as_groups(clip, pitome_pairs(clip, 5, margin * (1 - 1 / DEPTH), alpha))
        assert groups(plan, i)[0] == expected


def test_pitome_merges_a_crowd_and_leaves_a_lone_token_alone() -> None:
    tokens, _ = tokens_of(0, batch=1)
    lone = 9
    tokens.keys[:] = torch.tensor([1.0, 0, 0, 0]) + 0.01 * tokens.keys
    tokens.keys[:, :, lone] = torch.tensor([0.0, 1, 0, 0]).double()
    assert frozenset([lone]) in groups(get_method("pitome")(tokens, 8), 0, batch=1)[0]


@settings(max_examples=4)
@given(SEEDS, st.integers(1, 8))
@pytest.mark.parametrize("block", [1, 2])
def test_tofu_drops_in_the_first_half_and_merges_behind_it(block: int, seed: int, r: int) -> None:
    tokens, clips = tokens_of(seed, block=block)
    plan = get_method("tofu")(tokens, r)
    merged, _ = plan.merge(tokens.after, tokens.size, TokenReduction(schedule=Constant(1), method="tofu").combining)
    for i, clip in enumerate(clips):
        pairs = best_pairs(by_cosine(clip, list(clip.free)[::2], list(clip.free)[1::2]), r)
        made, dropped = groups(plan, i)
        if block == 1:
            assert dropped == {a for a, _ in pairs}
            assert made == {frozenset([j]) for j in range(clip.count) if j not in dropped}
            continue
        assert not dropped
        assert made == pairs_as_groups(clip, pairs)
        x = clip.before + clip.branch
        slot = plan.slot(2, tokens.device)[i].numpy()
        for k in range(plan.num_slots):
            members = slot == k
            mean = np.average(x[members], axis=0, weights=clip.size[members])
            longest = np.linalg.norm(x[members], axis=1).max()
            np.testing.assert_allclose(merged[i, k], mean / np.linalg.norm(mean) * longest, rtol=1e-6)


def test_what_a_method_combines_by_is_its_own_unless_another_is_asked_for() -> None:
    def combining(**fields: object) -> tuple[str, bool]:
        reduction = TokenReduction(schedule=Constant(1), **fields)  # type: ignore[arg-type]
        return reduction.combining, "combine" in reduction.to_dict()

    assert combining() == ("size", False)
    assert combining(combine="size") == ("size", False)  # the records of old
    assert combining(combine="norm") == ("norm", True)
    assert combining(method="tofu") == ("norm", False)
    assert combining(method="tofu", combine="norm") == ("norm", False)
    assert combining(method="tofu", combine="size") == ("size", True)
    assert TokenReduction(schedule=Constant(1), combine="size") == TokenReduction(schedule=Constant(1))


def halves(clip: Clip, partition: str) -> tuple[list[int], list[int]]:
    free = list(clip.free)
    if partition == "alternating":
        return [j for j in free if j % 2 == 0], [j for j in free if j % 2]
    if partition == "sequential":
        return free[:9], free[9:]
    place = {"time": lambda j: (clip.row[j], clip.column[j]), "frequency": lambda j: (clip.column[j], clip.row[j])}
    line = sorted(free, key=place[partition])
    return sorted(line[::2]), sorted(line[1::2])


@settings(max_examples=4)
@given(SEEDS, st.integers(1, 8))
@pytest.mark.parametrize("partition", ["alternating", "sequential", "time", "frequency"])
def test_a_partition_parts_as_it_says_and_the_best_pairs_merge(partition: str, seed: int, r: int) -> None:
    method = get_method("tome")
    tokens, clips = tokens_of(seed)
    plan = method(tokens, r, method.options(partition=partition))
    sources, targets = part(tokens, partition)  # type: ignore[arg-type]
    for i, clip in enumerate(clips):
        expected = halves(clip, partition)
        assert (sources[i].tolist(), targets[i].tolist()) == expected
        assert groups(plan, i)[0] == pairs_as_groups(clip, best_pairs(by_cosine(clip, *expected), r))


def test_a_random_partition_is_drawn_by_seed_and_block_for_all_clips() -> None:
    seen = set()
    for seed in (0, 1):
        for block in (0, 1):
            sources, targets = part(tokens_of(3, draw_seed=seed, block=block)[0], "random")
            assert torch.equal(sources[0], sources[1])
            assert sorted(sources[0].tolist() + targets[0].tolist()) == list(range(PREFIX, 19))
            assert sources.shape[1] == 9
            seen.add(tuple(sources[0].tolist()))
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("pitome", {"margin": 1.5}, "margin is 1.5; a cosine is from -1 to 1"),
        ("pitome", {"alpha": -1.0}, "alpha is -1.0; give a number of at least 0"),
        ("pitome", {"alpha": float("nan")}, "alpha is nan"),
        ("tofu", {"merge_from": 1.2}, "merge_from is 1.2; give a share of the blocks from 0"),
        ("algm", {"global_from": -0.1}, "global_from is -0.1; give a share of the blocks from 0"),
        ("tome", {"partition": "halves"}, "allowed: alternating, sequential, random, time, frequency"),
        ("topk", {"metric": "keys"}, "unknown option 'metric'. There are none"),
    ],
)
def test_a_bad_option_says_what_is_allowed(method: str, options: dict, message: str) -> None:
    with pytest.raises(ReductionError, match=message):
        TokenReduction(schedule=Constant(1), method=method, options=options)


def test_a_partition_by_place_needs_places_for_all_it_parts(small_geometry: Geometry) -> None:
    reduction = TokenReduction(schedule=Constant(3), options={"partition": "time"}, num_protected=1)
    with pytest.raises(ReductionError, match="num_protected is 1; it must leave all 2 prefix tokens alone"):
        reduction.removals(small_geometry)
