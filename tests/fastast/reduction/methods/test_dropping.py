"""Top-K, EViT, representation shift, random drop and patchout, each against loops over one clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast.geometry import Geometry
from fastast.reduction import ReductionError, TokenReduction, get_method
from fastast.reduction.choosing.dropping import drop_lowest
from fastast.schedule import Constant
from tests.fastast.reduction.methods.clips import PREFIX, Clip, groups, tokens_of

SEEDS = st.integers(0, 2**31)


def lowest(score: dict[int, float], r: int) -> set[int]:
    """Of equals, the higher position goes."""
    return set(sorted(score, key=lambda i: (score[i], -i))[:r])


def check_dropped(method: str, seed: int, r: int, score) -> None:
    tokens, clips = tokens_of(seed)
    plan = get_method(method)(tokens, r)
    for i, clip in enumerate(clips):
        alone, dropped = groups(plan, i)
        assert dropped == lowest({j: score(clip, j) for j in clip.free}, r)
        assert alone == {frozenset([j]) for j in range(clip.count) if j not in dropped}
        assert plan.merge_sizes(tokens.size, 2, tokens.device)[i].sum() == sum(
            size for j, size in enumerate(clip.size) if j not in dropped
        )
    assert torch.equal(plan.owner, plan.owner.sort(dim=1).values)


@settings(max_examples=5)
@given(SEEDS, st.integers(1, 17))
def test_topk_drops_what_class_and_distillation_attend_to_least(seed: int, r: int) -> None:
    check_dropped("topk", seed, r, Clip.attention)


@settings(max_examples=5)
@given(SEEDS, st.integers(1, 17))
def test_shift_drops_what_attention_moved_least(seed: int, r: int) -> None:
    def moved(clip: Clip, i: int) -> float:
        return float(np.sqrt(sum((after - before) ** 2 for before, after in zip(
            clip.before[i], clip.before[i] + clip.branch[i], strict=True
        ))))  # fmt: skip

    check_dropped("shift", seed, r, moved)


@settings(max_examples=5)
@given(SEEDS, st.integers(1, 16))
def test_evit_fuses_what_topk_would_drop_and_one_more(seed: int, r: int) -> None:
    tokens, clips = tokens_of(seed)
    plan = get_method("evit")(tokens, r)
    x = tokens.after.numpy()
    merged, size = plan.merge(tokens.after, tokens.size)
    for i, clip in enumerate(clips):
        attention = {j: clip.attention(j) for j in clip.free}
        fused = lowest(attention, r + 1)
        made, dropped = groups(plan, i)
        assert not dropped
        assert made == {frozenset([j]) for j in range(clip.count) if j not in fused} | {frozenset(fused)}
        expected = sum(attention[j] * x[i, j] for j in fused) / sum(attention[j] for j in fused)
        np.testing.assert_allclose(merged[i, -1], expected, rtol=1e-9, atol=1e-12)
        assert size[i].sum() == clip.size.sum()
        assert plan.owner[i, -1] == max(fused, key=lambda j: attention[j])


def test_of_equal_scores_the_lower_position_stays() -> None:
    score = torch.tensor([[9.0, 2.0, 1.0, 2.0, 1.0, 1.0]])
    kept = [drop_lowest(score, r, num_protected=1).owner.tolist()[0] for r in (1, 2, 3, 4, 5)]
    assert kept == [[0, 1, 2, 3, 4], [0, 1, 2, 3], [0, 1, 3], [0, 1], [0]]


class TestRandomDrop:
    def test_is_the_same_for_all_clips_and_repeats(self) -> None:
        plans = [get_method("random")(tokens_of(seed)[0], 6) for seed in (1, 2)]
        assert torch.equal(plans[0].owner, plans[1].owner)
        assert torch.equal(plans[0].owner[0], plans[0].owner[1])
        assert plans[0].owner[0, :PREFIX].tolist() == [0, 1]

    def test_depends_on_seed_and_block(self) -> None:
        kept = {
            tuple(get_method("random")(tokens_of(1, draw_seed=seed, block=block)[0], 6).owner[0].tolist())
            for seed in (0, 1, 2)
            for block in (0, 1)
        }
        assert len(kept) == 6

    def test_drops_every_token_equally_often(self) -> None:
        dropped = np.zeros(19)
        for seed in range(400):
            kept = get_method("random")(tokens_of(1, batch=1, draw_seed=seed)[0], 5).owner[0]
            dropped += 1
            dropped[kept.numpy()] -= 1
        assert not dropped[:PREFIX].any()
        expected = 400 * 5 / 17  # 118 each, standard deviation 9
        assert np.abs(dropped[PREFIX:] - expected).max() < 45


class TestPatchout:
    @pytest.mark.parametrize("axis", ["time", "frequency"])
    def test_whole_lines_go_but_for_one_and_blocks_go_on_where_the_last_one_stopped(self, axis: str) -> None:
        method = get_method("patchout")
        options = method.options(axis=axis)
        lines_gone = []
        for block, r in enumerate((4, 9, 12)):
            tokens, clips = tokens_of(5, left=21, block=block, draw_seed=3)
            _, dropped = groups(method(tokens, r, options), 1)
            line = clips[1].column if axis == "time" else clips[1].row
            by_line = {k: [j for j in range(PREFIX, 23) if line[j] == k] for k in set(line[PREFIX:].tolist())}
            whole = {k for k, members in by_line.items() if set(members) <= dropped}
            begun = [k for k, members in by_line.items() if set(members) & dropped and k not in whole]
            assert len(begun) <= 1
            for k in begun:  # from its end
                left = [j not in dropped for j in by_line[k]]
                assert left == sorted(left, reverse=True)
            lines_gone.append(dropped)
        assert lines_gone[0] < lines_gone[1] < lines_gone[2]

    def test_both_drops_in_the_order_of_lines_of_either_kind(self) -> None:
        method = get_method("patchout")
        tokens, clips = tokens_of(6)
        drawn = tokens.draw(3 + 7, block=0).double().tolist()
        for i, clip in enumerate(clips):
            score = {j: min(drawn[clip.row[j]], drawn[3 + clip.column[j]]) for j in clip.free}
            assert groups(method(tokens, 8, method.options(axis="both")), i)[1] == lowest(score, 8)

    def test_the_seed_decides(self) -> None:
        method = get_method("patchout")
        kept = {tuple(method(tokens_of(1, draw_seed=s)[0], 6).owner[0].tolist()) for s in range(6)}
        assert len(kept) > 1


@pytest.mark.parametrize("method", ["topk", "evit"])
def test_attention_needs_its_prefix_tokens(method: str, small_geometry: Geometry) -> None:
    with pytest.raises(ReductionError, match="it must leave all 2 prefix tokens alone"):
        TokenReduction(schedule=Constant(3), method=method, num_protected=1).removals(small_geometry)
    import dataclasses

    none = dataclasses.replace(small_geometry.encoder, num_prefix_tokens=0, reads="average")
    with pytest.raises(ReductionError, match="and this model has neither"):
        TokenReduction(schedule=Constant(3), method=method).removals(none)


def test_evit_leaves_at_least_the_fused_token(small_geometry: Geometry) -> None:
    reduction = TokenReduction(schedule=Constant(100), method="evit", excess="cap")
    assert reduction.tokens_per_block(small_geometry) == (3, 3, 3)
