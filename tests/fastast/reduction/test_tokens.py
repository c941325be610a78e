"""What a method can ask of a block's tokens, against NumPy and against the model itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from block_watch import watch_blocks

from fastast.hosts import reduce
from fastast.reduction import MergePlan, TokenReduction, reduction_method
from fastast.reduction.registry import METHODS, all_free
from fastast.schedule import PerBlock

SEEN: list[dict[str, object]] = []


@reduction_method("nosy", label="nosy", limit=all_free, random=True)
def nosy(tokens, r, options) -> MergePlan:
    """Merge pairs of neighbours from the end, and note everything there is to know."""
    SEEN.append(
        {
            "before": tokens.before,
            "after": tokens.after,
            "attention": tokens.prefix_attention,
            "keys": tokens.keys,
            "queries": tokens.queries,
            "size": tokens.size,
            "sizes": tokens.sizes,
            "places": tokens.places,
            "centres": tokens.centres,
            "protected": tokens.protected,
            "drawn": tokens.draw(),
            "generated": torch.rand(3, generator=tokens.generator),
            "block": (tokens.block, tokens.depth),
        }
    )
    n = tokens.num_tokens
    slot = torch.arange(n).clamp_max(n - r - 1)  # the last r tokens join the one before them
    return MergePlan.from_slots(slot.expand(tokens.batch, -1), n - r, drops=False)


@pytest.fixture
def seen(small_model, small_fbank, monkeypatch):
    """What the method saw in the two blocks in which it was asked."""
    monkeypatch.setitem(METHODS._entries, "nosy", nosy)
    SEEN.clear()
    with torch.no_grad(), reduce(small_model, TokenReduction(schedule=PerBlock((10, 0, 5)), method="nosy", seed=4)):
        small_model(small_fbank)
    assert [one["block"] for one in SEEN] == [(0, 3), (2, 3)]
    return list(SEEN)


def test_attention_of_the_prefix_weighs_sizes(seen) -> None:
    for one in seen:
        q, k = one["queries"][0, 1, :2].numpy().astype(float), one["keys"][0, 1].numpy().astype(float)
        scores = q @ k.T / np.sqrt(q.shape[1]) + np.log(one["sizes"][0].numpy())
        weights = np.exp(scores - scores.max(1, keepdims=True))
        np.testing.assert_allclose(one["attention"][0, 1], weights / weights.sum(1, keepdims=True), rtol=2e-4)


def test_sizes_places_and_centres_follow_the_merges(seen, small_geometry) -> None:
    first, last = seen
    rows, columns = small_geometry.grid
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    assert first["size"] is None
    np.testing.assert_array_equal(first["places"][1, 2:], grid)
    np.testing.assert_array_equal(first["centres"][1, 2:], grid)
    assert first["places"][0, :2].tolist() == [[-1, -1], [-1, -1]]
    # By hand: the last ten tokens joined the one before them, patch 57 of 68.
    assert last["size"][0].tolist() == [1.0] * 59 + [11.0]
    np.testing.assert_array_equal(last["places"][0, 2:], grid[:58])
    np.testing.assert_allclose(last["centres"][0, -1], grid[57:].mean(0), rtol=1e-6)


def test_before_and_after_differ_by_the_attention(seen, small_model, small_fbank) -> None:
    with torch.no_grad():
        x = small_model.embed(small_fbank)
        branch, _ = small_model.blocks[0].attention(x, None, "auto")
    torch.testing.assert_close(seen[0]["before"], x, rtol=0, atol=0)
    torch.testing.assert_close(seen[0]["after"], x + branch, rtol=0, atol=0)


def test_what_is_drawn_hangs_on_seed_and_block_alone(seen, small_model, small_fbank) -> None:
    first, last = seen
    assert not torch.equal(first["generated"], last["generated"])
    SEEN.clear()
    for seed in (4, 5):
        with torch.no_grad(), reduce(small_model, TokenReduction(schedule="list:10,0,5", method="nosy", seed=seed)):
            small_model(small_fbank[:1])
    assert torch.equal(SEEN[0]["drawn"], first["drawn"])
    assert torch.equal(SEEN[1]["generated"], last["generated"])
    assert not torch.equal(SEEN[2]["drawn"], first["drawn"])
    assert ((first["drawn"] >= 0) & (first["drawn"] < 1)).all()


def test_the_first_tokens_are_protected(seen) -> None:
    assert seen[0]["protected"].nonzero().flatten().tolist() == [0, 1]


def test_the_seed_of_a_reduction_is_part_of_what_it_asks() -> None:
    one = TokenReduction(schedule="constant:4", seed=3)
    assert one.to_dict()["seed"] == 3
    assert "seed" not in TokenReduction(schedule="constant:4").to_dict()
    assert TokenReduction.from_dict(one.to_dict()) == one


def test_merges_are_those_that_the_method_asked_for(small_model, small_fbank, monkeypatch) -> None:
    monkeypatch.setitem(METHODS._entries, "nosy", nosy)
    with torch.no_grad(), reduce(small_model, TokenReduction(schedule="list:10,0,5", method="nosy")) as handle:
        with watch_blocks() as watched:
            small_model(small_fbank)
        assert handle.tokens_per_block == (60, 60, 55)
    assert [None if size is None else size.sum(1).tolist() for size in watched.sizes] == [[70.0, 70.0]] * 3
