"""The model's own promises: r=0 and remove() are exact, shapes are checked, tokens are what was planned."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch

from fastast.geometry import Geometry
from fastast.hosts import reduce, restore
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace, ReductionError, TokenReduction, source_sizes, unmerge
from fastast.schedule import Constant, Linear, PerBlock

MERGE = TokenReduction(schedule=Constant(9))


def test_r_zero_is_the_unmerged_model_bit_for_bit(small_model, small_fbank) -> None:
    plain = small_model(small_fbank)
    with reduce(small_model, TokenReduction(schedule=Constant(0))):
        assert torch.equal(small_model(small_fbank), plain)


def test_remove_restores_the_model_bit_for_bit(small_model, small_fbank) -> None:
    before = {name: value.clone() for name, value in small_model.state_dict().items()}
    plain = small_model(small_fbank)
    handle = reduce(small_model, MERGE, attention="value_fold")
    merged = small_model(small_fbank)
    assert (merged - plain).abs().max() > 1e-4  # merging did something
    handle.remove()
    assert torch.equal(small_model(small_fbank), plain)
    assert small_model.attention_kernel == "auto"
    assert all(torch.equal(value, before[name]) for name, value in small_model.state_dict().items())


def test_two_reductions_at_once_are_refused(small_model) -> None:
    with reduce(small_model, MERGE), pytest.raises(ReductionError, match=r"reduced already \(tome constant:9\)"):
        reduce(small_model, MERGE)


def test_an_old_handle_does_not_remove_a_new_reduction(small_model) -> None:
    first = reduce(small_model, MERGE)
    first.remove()
    second = reduce(small_model, MERGE)
    first.remove()
    assert small_model.attached is not None
    assert second.tokens_per_block == (61, 52, 43)


def test_an_impossible_r_is_refused_with_the_tokens_of_every_block(small_model) -> None:
    with pytest.raises(ReductionError, match=r"block 2 of 3 has 40 tokens.*can remove 19, not 30.*40, 21, 12"):
        reduce(small_model, TokenReduction(schedule=Constant(30)))
    assert small_model.attached is None


def test_a_cap_that_is_asked_for_is_known_up_front(small_model, small_fbank) -> None:
    reduction = TokenReduction(schedule=Constant(30), excess="cap")
    trace = MergeTrace()
    with reduce(small_model, reduction) as handle:
        small_model.forward_features(small_fbank, trace)
    assert trace.tokens_per_block == list(handle.tokens_per_block) == [40, 21, 12]


@pytest.mark.parametrize("schedule", [Constant(9), Linear(12, -1), PerBlock((5, 0, 20))])
def test_measured_tokens_are_the_planned_ones(small_model, small_fbank, schedule) -> None:
    trace = MergeTrace()
    with reduce(small_model, TokenReduction(schedule=schedule)) as handle:
        features = small_model.forward_features(small_fbank, trace)
    assert trace.tokens_per_block == list(handle.tokens_per_block)
    assert features.shape[1] == handle.tokens_per_block[-1]


def test_source_map_accounts_for_every_original_token(small_model, small_fbank) -> None:
    trace = MergeTrace()
    with reduce(small_model, MERGE):
        features = small_model.forward_features(small_fbank, trace)
    source = trace.source[-1]
    assert source.dtype == torch.int32
    assert source.shape == (2, 70)
    assert source_sizes(source, 43).sum(1).tolist() == [70, 70]
    assert source[:, :2].tolist() == [[0, 1], [0, 1]]  # class and distillation token lead and stay alone
    assert source_sizes(source, 43)[:, :2].eq(1).all()
    spread = unmerge(features, source)
    for clip, token in ((0, 17), (1, 60)):
        assert torch.equal(spread[clip, token], features[clip, source[clip, token]])


def test_equal_neighbours_merge_without_loss(small_geometry) -> None:
    """Where every merged pair holds equal tokens, proportional attention makes merging exact."""
    torch.manual_seed(4)
    model = AudioSpectrogramTransformer(small_geometry).eval().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        model.pos_embed[:, 2:] = 0  # equal patches become equal tokens
    pattern = torch.randn(1, 48, dtype=torch.float64).expand(176, 48)  # the same spectrum in all frames
    fbank = pattern[None].clone()
    plain = model(fbank)
    # 4 rows of 17 patches (one pattern each): the first block can merge 34 of 68 tokens into equal ones.
    with reduce(model, TokenReduction(schedule=PerBlock((20, 4, 0)))):
        torch.testing.assert_close(model(fbank), plain, atol=1e-9, rtol=1e-9)
    with reduce(model, TokenReduction(schedule=PerBlock((20, 4, 0)), proportional=False)):
        assert (model(fbank) - plain).abs().max() > 1e-6


@pytest.mark.parametrize("metric", ["keys", "queries", "values", "tokens"])
def test_every_metric_merges_something_else(small_model, small_fbank, metric) -> None:
    with reduce(small_model, TokenReduction(schedule=Constant(9), options={"metric": metric})):
        out = small_model(small_fbank)
    with reduce(small_model, MERGE):
        keys = small_model(small_fbank)
    assert torch.isfinite(out).all()
    assert torch.equal(out, keys) == (metric == "keys")


def test_a_reduced_model_copies_and_pickles(small_model, small_fbank) -> None:
    reduce(small_model, MERGE)
    merged = small_model(small_fbank)
    for clone in (copy.deepcopy(small_model), pickle.loads(pickle.dumps(small_model))):
        assert torch.equal(clone(small_fbank), merged)
        restore(clone)
        with reduce(clone, TokenReduction(schedule=Constant(0))):
            assert not torch.equal(clone(small_fbank), merged)


def test_gradients_reach_every_parameter_through_merges(small_model, small_fbank) -> None:
    reduce(small_model.train(), MERGE)
    small_model(small_fbank).pow(2).sum().backward()
    assert [name for name, p in small_model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_bfloat16_keeps_sizes_whole(small_geometry) -> None:
    model = AudioSpectrogramTransformer(small_geometry).eval().to(torch.bfloat16)
    with reduce(model, TokenReduction(schedule=PerBlock((30, 16, 8)))):
        trace = MergeTrace()
        model.forward_features(torch.zeros(1, 176, 48, dtype=torch.bfloat16), trace)
    assert source_sizes(trace.source[-1], trace.tokens_per_block[-1]).sum() == 70


@pytest.mark.parametrize("shape", [(176, 48), (2, 48, 176), (2, 175, 48), (2, 1, 176, 48)])
def test_another_shape_is_refused_with_the_right_one(small_model, shape) -> None:
    with pytest.raises(ValueError, match="takes .batch, 176 frames, 48 mel bins"):
        small_model(torch.zeros(shape))


def test_stochastic_depth_is_off_in_eval(small_geometry: Geometry, small_fbank) -> None:
    torch.manual_seed(0)
    model = AudioSpectrogramTransformer(small_geometry, drop_path_rate=0.5)
    assert not torch.equal(model(small_fbank), model(small_fbank))
    model.eval()
    assert torch.equal(model(small_fbank), model(small_fbank))


@pytest.mark.slow
def test_a_reduced_model_exports_for_any_batch(small_model, small_fbank) -> None:
    reduce(small_model, MERGE)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(small_model, (small_fbank,), dynamic_shapes=({0: batch},)).module()
    for clips in (small_fbank, torch.cat([small_fbank, small_fbank + 1, small_fbank * 2])):
        torch.testing.assert_close(exported(clips), small_model(clips), atol=1e-6, rtol=1e-5)


def test_a_geometry_takes_scalars_of_numpy_as_the_numbers_that_they_are() -> None:
    numbers = {"embed_dim": np.int64(32), "depth": np.uint8(2), "mlp_ratio": np.float32(4), "qkv_bias": np.bool_(False)}
    mine = Geometry(**numbers, num_heads=2, num_classes=5)  # type: ignore[arg-type]
    plain = Geometry(embed_dim=32, depth=2, mlp_ratio=4.0, qkv_bias=False, num_heads=2, num_classes=5)
    assert mine == plain
    assert repr(mine) == repr(plain)
    assert json.dumps(dataclasses.asdict(mine)) == json.dumps(dataclasses.asdict(plain))
    for field, wrong in (("depth", np.float64(2)), ("mlp_ratio", np.bool_(True)), ("embed_dim", np.array([32]))):
        with pytest.raises(ValueError, match=f"geometry: {field} is "):
            Geometry(**{"embed_dim": 32, "num_heads": 2, "num_classes": 5} | {field: wrong})  # type: ignore[arg-type]
