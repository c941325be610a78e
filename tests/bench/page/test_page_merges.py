"""Pairs per block hold a clip's merges, and the page makes groups of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scripts import call, needs_node

from bench.page.merges import block_pairs, merge_histories
from fastast.hosts import reduce
from fastast.reduction import MergeTrace, TokenReduction
from fastast.schedule import Constant

GROUPS = "([pairs, n]) => pairs.map((_, i) => groupsAfter(pairs, n, i + 1))"


def test_pairs_by_hand() -> None:
    """Six tokens: 4 joins 1, then 1 (with 4) joins 0 and 3 is dropped; slots are renumbered as traces do."""
    sources = [np.array(slots) for slots in ([0, 1, 2, 3, 1, 4], [0, 0, 1, -1, 0, 2], [0, 0, 1, -1, 0, 2])]
    assert block_pairs(sources) == [[4, 1], [1, 0, 3, -1], []]


@pytest.mark.parametrize("later", [[0, 1, 2], [0, 0, 1]])
def test_tokens_that_part_or_come_back_are_refused(later: list[int]) -> None:
    with pytest.raises(ValueError, match="apart again"):
        block_pairs([np.array([0, -1, 0]), np.array(later)])


@needs_node
def test_groups_of_pairs_by_hand() -> None:
    pairs = [[4, 1], [1, 0, 3, -1], []]
    after = [[0, 1, 2, 3, 1, 5], [0, 0, 2, -1, 0, 5], [0, 0, 2, -1, 0, 5]]
    assert call(GROUPS, [pairs, 6], "groups") == after
    moved = "movedAt(pairs, n, block).flatMap((is, token) => (is ? [token] : []))"
    code = f"([pairs, n]) => [0, 1, 2, 3].map((block) => {moved})"
    assert call(code, [pairs, 6], "groups") == [[], [4], [1, 3, 4], []]
    means = call("([cells, groups]) => groupMeans(cells, groups)", [[1, 2, 3, 4, 6, 5], after[1]], "groups")
    assert means == [3, 3, 3, None, 3, 5]  # 1, 2 and 6 are one token


@needs_node
@pytest.mark.parametrize("method", ["tome", "pitome", "evit", "random"])
def test_groups_are_those_of_the_trace(small_model, small_fbank, method: str) -> None:
    """Block by block, two tokens are in one group exactly where the model's own trace has them in one slot."""
    trace = MergeTrace()
    with reduce(small_model, TokenReduction(method=method, schedule=Constant(9))), torch.inference_mode():
        small_model.forward_features(small_fbank[:1], trace)
    sources = [source[0].numpy() for source in trace.source]
    n = len(sources[0])
    for source, groups in zip(sources, call(GROUPS, [block_pairs(sources), n], "groups"), strict=True):
        found = np.array(groups)
        assert ((found < 0) == (source < 0)).all()
        kept = source >= 0
        same = (source[:, None] == source[None])[kept][:, kept]
        assert ((found[:, None] == found[None])[kept][:, kept] == same).all()


def test_a_history_has_pairs_of_every_block_and_says_why_there_is_none(small_model, small_fbank) -> None:
    (found,) = merge_histories(small_model, small_fbank[:1], methods=["tome"], removed=[5, 60])
    possible, impossible = found["runs"]
    assert [len(flat) // 2 for flat in possible["pairs"]] == [5, 5, 5]
    assert len(possible["heard"]) == 3
    assert "block 1 of 3 has 70 tokens" in impossible["why"]
    assert small_model.attached is None
