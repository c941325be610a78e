"""Tokens that go before attention or after the MLP, against the NumPy oracle and against the other places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import fastast
from fastast.engine import EngineFallbackWarning
from fastast.engine.choosing import why_not_reduction
from fastast.hosts import reduce
from fastast.macs import block_macs, model_macs
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import (
    MergePlan,
    MergeTrace,
    ReductionError,
    TokenReduction,
    method_names,
    reduction_method,
    source_sizes,
)
from fastast.reduction.registry import METHODS, all_free
from fastast.tuning.question import TuningQuestion
from fastast.tuning.target import Target, TuningError
from tests.fastast.merge_weights import needed
from tests.oracles import numpy_tome as oracle

AT_INPUT = {"random": {}, "slice": {}, "pool": {}, "patchout": {}} | {
    name: {"metric": "tokens"} for name in ("tome", "pitome", "tofu", "local", "algm", "adjacent")
}


def by(place: str, schedule: str = "list:7,11,5", **values: object) -> TokenReduction:
    return TokenReduction.from_dict({"schedule": schedule, "place": place, **values})


def run(model, fbank, reduction) -> tuple[torch.Tensor, MergeTrace]:
    trace = MergeTrace()
    with reduce(model, reduction, attention="math"), torch.no_grad():
        model.forward_features(fbank, trace)
        return model(fbank), trace


@pytest.mark.parametrize(
    ("place", "schedule", "metric"),
    [
        ("between", "list:7,11,5", "tokens"),
        ("before", "list:7,11,5", "tokens"),
        ("before", "list:0,11,5", "keys"),
        ("before", "list:0,11,5", "values"),
        ("after", "list:7,11,5", "tokens"),
        ("after", "list:7,0,5", "keys"),
        ("after", "list:0,11,5", "queries"),
    ],
)
def test_every_place_equals_the_oracle(small_model, small_fbank, place, schedule, metric) -> None:
    model, fbank = small_model.double(), small_fbank.double()
    logits, trace = run(model, fbank, by(place, schedule, metric=metric))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    rs = [int(r) for r in schedule.removeprefix("list:").split(",")]
    g = model.geometry
    for i, clip in enumerate(fbank.numpy()):
        told = oracle.forward(
            *(weights, clip, rs), num_heads=2, fstride=g.fstride, tstride=g.tstride, metric=metric, place=place
        )
        assert told.margin > 1e-9
        np.testing.assert_allclose(logits[i].numpy(), told.logits, rtol=0, atol=1e-9)
        assert trace.tokens_per_block == told.tokens_per_block
        for seen, expected in zip(trace.source, told.sources, strict=True):
            np.testing.assert_array_equal(seen[i].numpy(), expected)


def test_the_places_differ(small_model, small_fbank) -> None:
    found = [run(small_model, small_fbank, by(place, metric="tokens"))[0] for place in ("between", "before", "after")]
    for i in range(3):
        assert (found[i] - found[i - 1]).abs().max() > 1e-3


@pytest.mark.parametrize("method", sorted(set(method_names()) - {"random", "tofu", "algm", "pitome", "dtem"}))
def test_before_a_block_is_after_the_one_before_it(small_model, small_fbank, method) -> None:
    """But for methods that go by the number of the block, or have layers for each."""
    model, fbank = small_model.double(), small_fbank.double()
    after, _ = run(model, fbank, by("after", "list:7,11,0", method=method))
    before, trace = run(model, fbank, by("before", "list:0,7,11", method=method))
    torch.testing.assert_close(before, after, rtol=0, atol=0)
    assert trace.tokens_per_block == [70, 63, 52]


def test_patchout_at_the_input_is_a_model_without_those_patches(small_model, small_fbank) -> None:
    model, fbank = small_model.double(), small_fbank.double()
    logits, trace = run(model, fbank, by("before", "list:8,0,0", method="patchout", seed=3))
    assert trace.tokens_per_block == [62, 62, 62]
    gone = (trace.source[0][0] < 0).nonzero().flatten() - 2
    assert len(gone) == 8
    assert len(set((gone % 17).tolist())) == 2  # two columns of four patches
    with torch.no_grad():
        x = model.embed(fbank)[:, trace.source[0][0] >= 0]
        for block in model.blocks:
            branch, _ = block.attention(x, None, "math")
            x = x + branch
            x = x + block.mlp_branch(x)
        expected = model.head(model.norm(x)[:, :2].mean(1))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("method", method_names())
def test_clips_do_not_see_each_other_and_sizes_add_up(small_model, small_fbank, place, method) -> None:
    model, fbank = small_model.double(), small_fbank.double()
    reduction = by(place, "list:0,11,5", method=method, **needed(method, model.encoder))
    together, trace = run(model, fbank, reduction)
    alone = torch.cat([run(model, fbank[i : i + 1], reduction)[0] for i in range(2)])
    torch.testing.assert_close(alone, together, rtol=1e-10, atol=1e-10)
    sizes = source_sizes(trace.source[-1], trace.tokens_per_block[-1])
    assert trace.tokens_per_block == [70, 59, 54]
    assert (sizes.sum(1) + (trace.source[-1] < 0).sum(1)).tolist() == [70, 70]
    assert sizes.min() >= 1


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(("method", "options"), AT_INPUT.items(), ids=AT_INPUT)
def test_macs_are_those_that_torch_counts(small_geometry, place, method, options) -> None:
    reduction = by(place, method=method, **options)
    with torch.device("meta"):
        model = AudioSpectrogramTransformer(small_geometry).eval()
        fbank = torch.empty(1, small_geometry.num_frames, small_geometry.num_mel_bins)
    with reduce(model, reduction, attention="math"), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(fbank)
    assert counter.get_total_flops() == 2 * model_macs(small_geometry, reduction)


def test_macs_by_hand(small_geometry) -> None:
    whole = model_macs(small_geometry)
    block = block_macs(small_geometry, 70, 70)
    left = [63, 63, 63]
    before = whole - 3 * block + 3 * block_macs(small_geometry, 63, 63)
    after = whole - 2 * block + 2 * block_macs(small_geometry, 63, 63)
    assert model_macs(small_geometry, by("before", "list:7,0,0", method="random")) == before
    assert model_macs(small_geometry, by("after", "list:7,0,0", method="random")) == after
    assert model_macs(small_geometry, left, place="before") == before
    assert model_macs(small_geometry, left, place="after") == after


def test_gradients_flow_through_every_place(small_model, small_fbank) -> None:
    for place in ("before", "after"):
        small_model.zero_grad()
        with reduce(small_model, by(place, metric="tokens")):
            small_model(small_fbank).sum().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in small_model.blocks[0].mlp.parameters())


@pytest.mark.parametrize("method", sorted(set(method_names()) - {"random", "slice", "pool", "patchout", "dtem"}))
def test_what_goes_by_attention_is_refused_before_any(small_geometry, method) -> None:
    with pytest.raises(
        ReductionError, match=rf"{method} list:7,11,5: block 1 removes 7 .*list:0,\.\.\.\), or place='be"
    ):
        by("before", method=method).removals(small_geometry)
    assert by("before", "list:0,11,5", method=method).removals(small_geometry) == (0, 11, 5)


def test_a_method_that_looks_at_what_is_not_there_is_told(small_model, small_fbank, monkeypatch) -> None:
    @reduction_method("rash", label="rash", limit=all_free, at_input=True)
    def rash(tokens, r, options) -> MergePlan:
        """Say that it can choose at the input, and ask for keys."""
        return MergePlan(num_tokens=tokens.num_tokens, owner=tokens.keys.argsort(1)[:, 0, :-r, 0])

    monkeypatch.setitem(METHODS._entries, "rash", rash)
    with reduce(small_model, by("before", method="rash")), pytest.raises(ReductionError, match="there are no queries"):
        small_model(small_fbank)


def test_the_kernels_leave_other_places_to_the_model(small_model, small_fbank, monkeypatch) -> None:
    monkeypatch.setattr("fastast.engine.compilation._SAID", set())
    reduction = by("before", metric="tokens")
    assert "place is 'before'" in why_not_reduction(reduction)
    assert why_not_reduction(by("between")) == ""
    with pytest.warns(EngineFallbackWarning, match="the kernels merge between attention and MLP"):
        engine = fastast.compile(small_model, reduction)
    with reduce(small_model, reduction), torch.no_grad():
        torch.testing.assert_close(engine(small_fbank), small_model(small_fbank))


def test_tuning_is_refused_at_another_place() -> None:
    with pytest.raises(TuningError, match="place is 'after'"):
        TuningQuestion(model="m", data="d", target=Target(speedup=2.0), method=by("after", "constant:1"))


def test_a_place_travels_and_stays_out_where_it_is_the_usual_one() -> None:
    assert "place" not in by("between").to_dict()
    assert by("after").to_dict()["place"] == "after"
    assert TokenReduction.from_dict(by("after").to_dict()) == by("after")
    assert str(by("after", "constant:4")) == "tome constant:4 place=after"
    with pytest.raises(ValueError, match="There are: between, before, after"):
        by("inside")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["before", "after"])
def test_shapes_and_choices_survive_export(small_model, small_fbank, place) -> None:
    small_model.requires_grad_(False)
    with reduce(small_model, by(place, metric="tokens"), attention="math"):
        program = torch.export.export(small_model, (small_fbank,), strict=False)
        other = torch.randn(small_fbank.shape, generator=torch.Generator().manual_seed(7))
        torch.testing.assert_close(program.module()(other), small_model(other), rtol=1e-4, atol=1e-5)
