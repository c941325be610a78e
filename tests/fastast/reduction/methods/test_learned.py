"""DTEM: tokens are compared by an embedding from a file, against loops over one clip; and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from fastast.geometry import geometry
from fastast.hosts import reduce
from fastast.reduction import MergeTrace, ReductionError, TokenReduction, get_method
from fastast.reduction.embedding import ENTRY, SHIPPED, MergeEmbedding, merge_embedding
from fastast.zoo import create_model
from tests.fastast.merge_weights import random_embedding
from tests.fastast.reduction.methods.clips import DEPTH, ROWS, SHAPE, best_pairs, groups, pairs_as_groups, tokens_of

SEEDS = st.integers(0, 2**31)
METHOD = get_method("dtem")
FILE = random_embedding(DEPTH, SHAPE.embed_dim, ROWS)
OPTIONS = METHOD.options(weights=str(FILE))


def embeddings(x: np.ndarray, block: int) -> np.ndarray:
    """Tokens (n, d) of one clip -> (n, w)."""
    layers = {name: tensor.double().numpy() for name, tensor in load_file(FILE).items()}
    found = []
    for token in x:
        centred = token - token.mean()
        normed = centred / np.sqrt((centred**2).mean() + 1e-6)
        found.append(layers["weight"][block] @ normed + layers["bias"][block])
    return np.stack(found)


@settings(max_examples=6)
@given(SEEDS, st.integers(1, 8))
@pytest.mark.parametrize("block", [0, 3])
def test_it_merges_the_pairs_whose_embeddings_are_most_alike(block: int, seed: int, r: int) -> None:
    tokens, clips = tokens_of(seed, block=block)
    plan = METHOD(tokens, r, OPTIONS)
    for i, clip in enumerate(clips):
        e = embeddings(clip.before, block)
        units = e / np.linalg.norm(e, axis=1, keepdims=True)
        free = list(clip.free)
        scores = {(a, b): (float(units[a] @ units[b]),) for a in free[::2] for b in free[1::2]}
        made, dropped = groups(plan, i)
        assert made == pairs_as_groups(clip, best_pairs(scores, r))
        assert not dropped
        assert plan.merge_sizes(tokens.size, 2, tokens.device)[i].sum() == clip.size.sum()


@settings(max_examples=4)
@given(SEEDS)
def test_only_the_direction_of_a_token_from_its_mean_counts(seed: int) -> None:
    tokens, _ = tokens_of(seed)
    moved, _ = tokens_of(seed)
    moved.before = tokens.before * torch.tensor([4.0, 0.5]).double()[:, None, None] + 3
    plans = [METHOD(one, 6, OPTIONS) for one in (tokens, moved)]
    assert groups(plans[0], 0) == groups(plans[1], 0)
    assert groups(plans[0], 1) == groups(plans[1], 1)


def test_a_threshold_leaves_pairs_alone_that_are_less_alike() -> None:
    tokens, clips = tokens_of(5)
    tokens.threshold = 0.5
    plan = METHOD(tokens, 8, OPTIONS)
    for i, clip in enumerate(clips):
        e = embeddings(clip.before, tokens.block)
        units = e / np.linalg.norm(e, axis=1, keepdims=True)
        for group in groups(plan, i)[0]:
            for member in group:
                assert len(group) == 1 or max(units[member] @ units[other] for other in group - {member}) >= 0.5


@pytest.mark.parametrize("place", ["before", "between", "after"])
@torch.no_grad()
def test_wherever_tokens_go_a_block_embeds_those_that_enter_it(small_model, small_fbank, place) -> None:
    """Each layer was learned for the tokens that enter its block, whatever has become of them where they go."""
    model, r = small_model.double(), 11
    g = model.geometry
    weights = str(random_embedding(g.depth, g.embed_dim, g.grid[0]))
    reduction = TokenReduction(schedule=f"list:0,{r},0", method="dtem", options={"weights": weights}, place=place)  # type: ignore[arg-type]
    trace, fbank = MergeTrace(), small_fbank.double()
    with reduce(model, reduction):
        model(fbank, trace)
    entered = model.embed(fbank)
    entered = entered + model.blocks[0].attention(entered, None, "math")[0]
    entered = entered + model.blocks[0].mlp_branch(entered)
    layers = {name: tensor.double() for name, tensor in load_file(weights).items()}
    e = torch.layer_norm(entered, entered.shape[-1:], eps=1e-6) @ layers["weight"][1].T + layers["bias"][1]
    e = e / e.norm(dim=-1, keepdim=True)
    for clip, slots in zip(e, trace.source[1], strict=True):
        best, partner = (clip[2::2] @ clip[3::2].T).max(1)
        leaves = best.argsort(descending=True)[:r]
        assert len(slots.unique()) == len(clip) - r
        assert torch.equal(slots[2 + 2 * leaves], slots[3 + 2 * partner[leaves]])


def test_records_know_a_file_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(FILE.read_bytes())
    reduction = TokenReduction.from_dict({"schedule": "constant:2", "method": "dtem", "weights": str(path)})
    name = reduction.to_dict()["weights"]
    assert name.startswith(f"{path}@")
    MergeEmbedding(weight=torch.randn(4, 3, 8), bias=torch.zeros(4, 3), model="other", rows=3).save(path)
    other = TokenReduction.from_dict({"schedule": "constant:2", "method": "dtem", "weights": str(path)})
    assert other != reduction
    with pytest.raises(ReductionError, match="is not the one that was named"):
        merge_embedding(name)
    path.unlink()
    assert TokenReduction.from_dict(reduction.to_dict()) == reduction  # a record is read where the file is not
    with pytest.raises(ReductionError, match="No such file"):
        reduction.removals(SHAPE)


def test_the_shipped_one_is_small_and_for_its_model_alone() -> None:
    reduction = TokenReduction(schedule="constant:40", method="dtem")  # type: ignore[arg-type]
    assert "weights" not in reduction.to_dict()
    assert SHIPPED["ast_tiny_soundscapes"].stat().st_size < 1e6
    model = create_model("ast_tiny_soundscapes")
    assert reduction.removals(model.geometry) == (40,) * 12
    shorter = create_model("ast_tiny_soundscapes", num_frames=256)
    assert TokenReduction(schedule="constant:20", method="dtem").removals(shorter.geometry)[0] == 20  # type: ignore[arg-type]
    with pytest.raises(ReductionError, match=r"for ast_tiny_soundscapes, 192 width; this model has 768: learn one"):
        reduction.removals(geometry("base"))
    with pytest.raises(ReductionError, match=r"12 rows of patches \(a larger stride has fewer\); this model has 8"):
        reduction.removals(create_model("ast_tiny_soundscapes", stride=16).geometry)


def test_what_is_no_embedding_is_refused(tmp_path: Path) -> None:
    def refused(content: bytes) -> str:
        path = tmp_path / "bad.safetensors"
        path.write_bytes(content)
        reduction = TokenReduction.from_dict({"schedule": "constant:2", "method": "dtem", "weights": str(path)})
        with pytest.raises(ReductionError) as error:
            reduction.removals(SHAPE)
        return str(error.value)

    whole = FILE.read_bytes()
    assert "not a file of `fastast learn-merging`, or it is damaged" in refused(whole[: len(whole) // 2])
    assert "not a file of `fastast learn-merging`" in refused(b"\x80\x04K\x01.")
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1)}, other)
    assert "not a file of `fastast learn-merging`" in refused(other.read_bytes())
    tensors = load_file(FILE)
    entry = json.dumps({"version": 1, "model": "m", "rows": ROWS, "training": {}})
    save_file(tensors | {"bias": tensors["bias"] * float("nan")}, other, {ENTRY: entry})
    assert "NaN or infinite" in refused(other.read_bytes())
    save_file(tensors | {"bias": tensors["bias"][:, :3].contiguous()}, other, {ENTRY: entry})
    assert "they must be (blocks, width, token width)" in refused(other.read_bytes())
    save_file(tensors, other, {ENTRY: entry.replace('"version": 1', '"version": 2')})
    assert "of version 2" in refused(other.read_bytes())


def test_a_name_that_is_none_says_what_there_is() -> None:
    with pytest.raises(ReductionError, match=r"weights is 'ast_base': .*ast_tiny_soundscapes has a merge embedding"):
        TokenReduction.from_dict({"schedule": "constant:2", "method": "dtem", "weights": "ast_base"})
