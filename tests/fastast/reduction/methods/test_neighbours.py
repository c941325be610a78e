"""Methods that go by places on the patch grid: pooling, local merging, ALGM and A-ToMe, against loops over one clip."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast.geometry import Geometry
from fastast.reduction import ReductionError, TokenReduction, get_method
from fastast.reduction.methods.pool import order_on_line
from fastast.schedule import Constant, PerBlock
from tests.fastast.reduction.methods.clips import (
    COLUMNS,
    PREFIX,
    ROWS,
    Clip,
    best_pairs,
    groups,
    pairs_as_groups,
    tokens_of,
)

SEEDS = st.integers(0, 2**31)
ALONE = {frozenset([i]) for i in range(PREFIX)}


def walk(axis: str) -> list[tuple[int, int]]:
    """Every place of the grid, there and back."""
    if axis == "time":
        return [(f, t if f % 2 == 0 else COLUMNS - 1 - t) for f in range(ROWS) for t in range(COLUMNS)]
    if axis == "frequency":
        return [(f if t % 2 == 0 else ROWS - 1 - f, t) for t in range(COLUMNS) for f in range(ROWS)]
    places = []
    for strip in range(2):  # rows 0 and 1, then row 2 alone
        for step in range(COLUMNS):
            t = step if strip == 0 else COLUMNS - 1 - step
            rows = [2 * strip, 2 * strip + 1]
            places += [(f, t) for f in (rows if (t if strip == 0 else COLUMNS - 1 - t) % 2 == 0 else rows[::-1])]
    return [place for place in places if place[0] < ROWS]


@settings(max_examples=4)
@given(SEEDS, st.integers(1, 16))
@pytest.mark.parametrize("axis", ["time", "frequency", "both"])
def test_pool_cuts_the_line_into_equal_runs(axis: str, seed: int, r: int) -> None:
    method = get_method("pool")
    tokens, clips = tokens_of(seed)
    plan = method(tokens, r, method.options(axis=axis))
    for i, clip in enumerate(clips):
        at = {(clip.row[j], clip.column[j]): j for j in clip.free}
        line = [at[place] for place in walk(axis) if place in at]
        runs = 17 - r
        cuts = [math.ceil(k * 17 / runs) for k in range(runs + 1)]
        made, dropped = groups(plan, i)
        assert made == ALONE | {frozenset(line[a:b]) for a, b in itertools.pairwise(cuts)}
        assert not dropped
        assert plan.merge_sizes(tokens.size, 2, tokens.device)[i].sum() == clip.size.sum()


@pytest.mark.parametrize(
    ("axis", "share", "height", "width"),
    [("time", 2, 1, 2), ("frequency", 2, 2, 1), ("both", 4, 2, 2), ("time", 6, 1, 6)],
)
def test_a_line_of_whole_windows_is_average_pooling(axis: str, share: int, height: int, width: int) -> None:
    places = torch.cartesian_prod(torch.arange(4), torch.arange(6)).float()  # 4 rows of 6
    line = order_on_line(places[None], (4, 6), axis)[0]
    runs = {frozenset(map(tuple, places[line[i : i + share]].int().tolist())) for i in range(0, 24, share)}
    assert runs == {
        frozenset((top + f, left + t) for f in range(height) for t in range(width))
        for top in range(0, 4, height)
        for left in range(0, 6, width)
    }


def windowed(clip: Clip, reach: tuple[int | None, int | None]) -> dict[tuple[int, int], tuple[float, ...]]:
    """Scores of even against odd positions: first how near, then how similar."""
    scores = {}
    for a in range(PREFIX, clip.count, 2):
        for b in range(PREFIX + 1, clip.count, 2):
            gap = 0
            for line, patches in zip((clip.row, clip.column), reach, strict=True):
                if patches is not None:
                    gap += max(0, abs(int(line[a]) - int(line[b])) - patches)
            scores[a, b] = (-gap, clip.cosine(a, b))
    return scores


@settings(max_examples=4)
@given(SEEDS, st.integers(1, 8))
@pytest.mark.parametrize(
    ("options", "reach"),
    [
        ({}, (1, 2)),
        ({"window": "time", "time": 0}, (None, 0)),
        ({"window": "frequency", "frequency": 0}, (0, None)),
        ({"time": 0, "frequency": 0}, (0, 0)),  # no pair within: the nearest
    ],
)
def test_local_merges_the_most_similar_within_reach(options: dict, reach: tuple, seed: int, r: int) -> None:
    method = get_method("local")
    tokens, clips = tokens_of(seed)
    plan = method(tokens, r, method.options(**options))
    for i, clip in enumerate(clips):
        made, dropped = groups(plan, i)
        assert made == pairs_as_groups(clip, best_pairs(windowed(clip, reach), r))
        assert not dropped
    assert torch.equal(plan.owner, plan.owner.sort(dim=1).values)


@settings(max_examples=4)
@given(SEEDS, st.integers(1, 8))
@pytest.mark.parametrize(("block", "reach"), [(0, (1, 2)), (1, (1, 2)), (2, (None, None)), (3, (None, None))])
def test_algm_is_local_in_the_first_half_and_global_behind_it(block: int, reach: tuple, seed: int, r: int) -> None:
    tokens, clips = tokens_of(seed, block=block)
    plan = get_method("algm")(tokens, r)
    for i, clip in enumerate(clips):
        assert groups(plan, i)[0] == pairs_as_groups(clip, best_pairs(windowed(clip, reach), r))


@settings(max_examples=5)
@given(SEEDS, st.integers(1, 14))
def test_adjacent_closes_the_most_similar_gaps_of_every_band(seed: int, r: int) -> None:
    tokens, clips = tokens_of(seed)
    plan = get_method("adjacent")(tokens, r)
    for i, clip in enumerate(clips):
        gaps = {j: clip.cosine(j, j + 1) for j in list(clip.free)[:-1] if clip.row[j] == clip.row[j + 1]}
        closed = set(sorted(gaps, key=lambda j: (-gaps[j], j))[:r])
        expected = [[j] for j in range(PREFIX)]
        for j in clip.free:
            if j - 1 in closed:
                expected[-1].append(j)
            else:
                expected.append([j])
        made, dropped = groups(plan, i)
        assert made == {frozenset(run) for run in expected}
        assert not dropped
        assert plan.merge_sizes(tokens.size, 2, tokens.device)[i].sum() == clip.size.sum()
        assert plan.owner[i].tolist() == [run[0] for run in expected]


def test_adjacent_leaves_a_token_of_every_band(small_geometry: Geometry) -> None:
    assert small_geometry.encoder.grid == (4, 17)
    reduction = TokenReduction(schedule=Constant(100), method="adjacent", excess="cap")
    assert reduction.tokens_per_block(small_geometry)[0] == 2 + 4


@pytest.mark.parametrize("method", ["local", "algm"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time": 17}, r"time is 17; the grid has 17 patches along time, so a window can reach 0 to 16"),
        ({"frequency": 4}, r"frequency is 4; the grid has 4 patches along frequency, .* 0 to 3"),
        ({"time": -1}, "time is -1; give 0 patches or more"),
        ({"window": "time", "frequency": 3}, "frequency is 3, but the window is 'time'; leave frequency out"),
        ({"window": "space"}, "allowed: time, frequency, both"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(
    method: str, options: dict, message: str, small_geometry: Geometry
) -> None:
    with pytest.raises(ReductionError, match=message):
        TokenReduction(schedule=Constant(3), method=method, options=options).removals(small_geometry)


@pytest.mark.parametrize("method", ["pool", "patchout", "local", "algm", "adjacent"])
def test_a_prefix_token_without_a_place_must_be_protected(method: str, small_geometry: Geometry) -> None:
    with pytest.raises(ReductionError, match=f"reduction {method}: num_protected is 1; it must leave all 2 prefix"):
        TokenReduction(schedule=PerBlock((1, 0, 0)), method=method, num_protected=1).removals(small_geometry)
