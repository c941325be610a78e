"""Merging by a threshold: every clip its own number of tokens, against the NumPy oracle and against fixed numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import fastast
from fastast import ReductionError, TokenReduction
from fastast.engine import EngineFallbackWarning
from fastast.exporting import ExportError, export
from fastast.frontend import Normalisation
from fastast.hosts import reduce
from fastast.reduction import BlockTokens, MergePlan, MergeTrace, reduction_method, source_sizes
from fastast.reduction.choosing.adaptive import AdaptivePlan
from fastast.reduction.methods.local import local
from fastast.reduction.methods.tome import tome
from fastast.reduction.plan import PlanError
from fastast.reduction.registry import METHODS, all_free
from fastast.tuning.question import TuningQuestion
from fastast.tuning.target import Target, TuningError
from tests.fastast.reduction.methods.clips import tokens_of
from tests.oracles import numpy_tome as oracle

SCHEDULE = "list:15,12,8"


def by(threshold: float | None, schedule: str = SCHEDULE, **values: object) -> TokenReduction:
    return TokenReduction.from_dict({"schedule": schedule, "threshold": threshold, **values})


def run(model, fbank, reduction, attention: str = "math") -> tuple[torch.Tensor, MergeTrace]:
    trace = MergeTrace()
    with reduce(model, reduction, attention=attention), torch.no_grad():
        return model(fbank, trace), trace


@pytest.fixture
def clips(small_fbank) -> torch.Tensor:
    """Five clips that are unlike each other: noise, the same in pieces, and half of it silent."""
    noise = torch.randn(5, *small_fbank.shape[1:], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    noise[1, 40:] = noise[1, 40:41]
    noise[2] = noise[2].mean(0, keepdim=True) + 0.3 * noise[2]
    noise[3, :, 20:] = 0
    noise[4] *= 0.2
    return noise


@pytest.fixture
def model(small_model):
    return small_model.double()


@pytest.fixture
def level(model, clips) -> float:
    """A cosine that a quarter of the best pairs reach, of some clips more, of others less."""
    found: list[torch.Tensor] = []

    def seen(tokens: BlockTokens, r: int, options: object) -> MergePlan:
        metric = tokens.keys.mean(1)
        unit = torch.nn.functional.normalize(metric, dim=-1)
        found.append((unit[:, 2::2] @ unit[:, 3::2].transpose(1, 2)).amax(-1).flatten())
        return tome(tokens, r)

    method = dataclasses.replace(METHODS.get("tome"), name="seen", choose=seen)
    METHODS._entries["seen"] = method
    try:
        run(model, clips, TokenReduction(schedule=SCHEDULE, method="seen"))  # type: ignore[arg-type]
    finally:
        del METHODS._entries["seen"]
    return float(torch.cat(found).quantile(0.75))


@pytest.mark.parametrize("order", ["tome", "position"])
@pytest.mark.parametrize("place", ["between", "after"])
def test_every_clip_equals_the_oracle(model, clips, level, order, place) -> None:
    logits, trace = run(model, clips, by(level, order=order, place=place))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    g, rs = model.geometry, (15, 12, 8)
    for i, clip in enumerate(clips.numpy()):
        told = oracle.forward(
            *(weights, clip, rs), num_heads=2, fstride=g.fstride, tstride=g.tstride, order=order, place=place,
            threshold=level,
        )  # fmt: skip
        assert told.margin > 1e-9
        np.testing.assert_allclose(logits[i].numpy(), told.logits, rtol=0, atol=1e-9)
        assert trace.counts()[i].tolist() == told.tokens_per_block
        for source, left, expected, sizes in zip(
            trace.source, trace.tokens_per_block, told.sources, told.sizes, strict=True
        ):
            np.testing.assert_array_equal(source[i].numpy(), expected)
            found = source_sizes(source, left)[i]
            assert found.sum() == g.num_tokens
            np.testing.assert_array_equal(found[: len(sizes)], sizes)
            assert found[len(sizes) :].eq(0).all()


def test_numbers_differ_and_a_batch_has_room_for_its_largest(model, clips, level) -> None:
    _, trace = run(model, clips, by(level))
    counts = trace.counts()
    assert counts.shape == (5, 3)
    assert len(set(counts[:, -1].tolist())) > 2
    assert trace.tokens_per_block == counts.amax(0).tolist()
    fewest = torch.tensor(by(None).tokens_per_block(model.geometry))
    assert (counts >= fewest).all()


@pytest.mark.parametrize("attention", ["math", "mask", "key_column", "value_fold"])
@pytest.mark.parametrize(
    "values", [{}, {"method": "local"}, {"method": "algm"}, {"combine": "norm"}, {"combine": "mean"}]
)
def test_a_clip_is_what_it_is_alone_and_with_its_own_numbers(model, clips, level, attention, values) -> None:
    together, trace = run(model, clips, by(level, **values), attention)
    for i, counts in enumerate(trace.counts().tolist()):
        alone, own = run(model, clips[i : i + 1], by(level, **values), attention)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-9, atol=1e-9)
        assert own.tokens_per_block == counts  # nothing pads it
        entering = [model.geometry.num_tokens, *counts[:-1]]
        numbers = ",".join(str(before - after) for before, after in zip(entering, counts, strict=True))
        fixed, _ = run(model, clips[i : i + 1], by(None, f"list:{numbers}", **values), attention)
        torch.testing.assert_close(fixed[0], together[i], rtol=1e-9, atol=1e-9)


def test_the_order_of_clips_does_not_matter(model, clips, level) -> None:
    forth, _ = run(model, clips, by(level))
    back, _ = run(model, clips.flip(0), by(level))
    torch.testing.assert_close(back.flip(0), forth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("values", [{}, {"place": "after"}, {"method": "local"}, {"method": "algm"}])
def test_of_no_clips_there_are_no_answers(model, clips, values, traced) -> None:
    trace = MergeTrace() if traced else None
    with reduce(model, by(0.9, **values)), torch.no_grad():
        merged = model(clips[:0], trace)
    with torch.no_grad():
        assert merged.shape == model(clips[:0]).shape == (0, 5)
    assert trace is None or trace.tokens_per_block == [70, 70, 70]  # nothing merged


def test_the_lowest_threshold_is_the_schedule_and_the_highest_nothing(model, clips) -> None:
    noise = clips[:1]
    torch.testing.assert_close(run(model, noise, by(-0.999999))[0], run(model, noise, by(None))[0])
    logits, trace = run(model, noise, by(1.0))
    assert trace.tokens_per_block == [70, 70, 70]
    with torch.no_grad():
        torch.testing.assert_close(logits, model(noise))


@pytest.mark.parametrize("method", [tome, local])
@pytest.mark.parametrize("combine", ["size", "mean", "norm", "keep"])
def test_sums_and_averages_by_loops(method, combine) -> None:
    tokens, made = tokens_of(3)
    tokens.threshold = 0.2
    plan = method(tokens, 6)
    assert isinstance(plan, AdaptivePlan)
    x, size = plan.merge(tokens.after, tokens.size, combine)
    slots = plan.slot(2, tokens.device)
    for i, clip in enumerate(made):
        joined = {int(a): int(b) for a, b, g in zip(plan.merged[i], plan.partner[i], plan.goes[i], strict=True) if g}
        if method is tome:
            assert all(clip.cosine(a, b) >= 0.2 for a, b in joined.items())
        left = [int(token) for token in plan.owner[i] if int(token) not in joined]
        assert left == plan.owner[i, : len(left)].tolist()  # what is empty stands behind
        assert size[i].sum() == clip.size.sum()
        for slot, owner in enumerate(left):
            members = [owner, *(a for a, b in joined.items() if b == owner)]
            assert {int(slots[i, token]) for token in members} == {slot}
            assert size[i, slot] == clip.size[members].sum()
            vectors = tokens.after[i, members].numpy()
            weights = clip.size[members] if combine != "mean" else np.ones(len(members))
            expected = (vectors * weights[:, None]).sum(0) / weights.sum()
            if combine == "keep":
                expected = vectors[0]
            if combine == "norm" and len(members) > 1:
                expected *= np.linalg.norm(vectors, axis=1).max() / np.linalg.norm(expected)
            np.testing.assert_allclose(x[i, slot].numpy(), expected, atol=1e-6)
        assert size[i, len(left) :].eq(0).all()


def test_tokens_that_pad_are_in_no_pair() -> None:
    tokens, _ = tokens_of(4)
    assert tokens.dead is None
    tokens.threshold = -0.99
    tokens.size[0, -4:] = 0
    assert tokens.dead[0].nonzero().flatten().tolist() == [15, 16, 17, 18]
    plan = tome(tokens, 6)
    pairs = torch.cat([plan.merged[0][plan.goes[0]], plan.partner[0][plan.goes[0]]])
    assert pairs.max() < 15
    assert plan.goes[1].all()
    assert plan.num_slots == 13  # of the second clip; the first one has 19 - 4 - 6 of its own


def test_gradients_flow_and_are_finite(small_model, small_fbank) -> None:
    for kernel in ("mask", "key_column", "value_fold"):
        small_model.zero_grad()
        with reduce(small_model, by(0.3), attention=kernel):
            small_model(small_fbank).sum().backward()
        for name, parameter in small_model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), (kernel, name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": 1.5}, r"threshold is 1\.5; give a cosine above -1 .* and up to 1"),
        ({"threshold": -1}, "threshold is -1; give a cosine above -1"),
        ({"threshold": True}, "threshold is True"),
        (
            {"threshold": 0.8, "method": "pool"},
            "reduction pool: threshold is 0.8, but the method does not merge by one.* use tome",
        ),
        ({"threshold": 0.8, "distance": "dot"}, "with distance='cosine' and partition='alternating'"),
        ({"threshold": 0.8, "partition": "time"}, "with distance='cosine' and partition='alternating'"),
        ({"threshold": 0.8, "proportional": False}, "leave proportional and weighted_pooling at True"),
        ({"threshold": 0.8, "weighted_pooling": False}, "leave proportional and weighted_pooling at True"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message) -> None:
    with pytest.raises(ReductionError, match=message):
        TokenReduction.from_dict({"schedule": SCHEDULE} | values)


def test_a_threshold_travels_and_stays_out_where_there_is_none() -> None:
    assert "threshold" not in by(None).to_dict()
    assert by(0.8).to_dict()["threshold"] == 0.8
    assert TokenReduction.from_dict(by(0.8).to_dict()) == by(0.8)
    assert by(1) == by(1.0)
    assert str(by(0.8, "constant:4")) == "tome constant:4 threshold=0.8"


def test_kernels_exports_and_tuning_say_no(small_model, small_fbank, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("fastast.engine.compilation._SAID", set())
    with pytest.warns(EngineFallbackWarning, match="with a threshold each clip sets its own"):
        engine = fastast.compile(small_model, by(0.5))
    with reduce(small_model, by(0.5)), torch.no_grad():
        torch.testing.assert_close(engine(small_fbank), small_model(small_fbank))
    with pytest.raises(ExportError, match="leave the threshold out"):
        export(small_model, tmp_path / "a.onnx", reduction=by(0.5), normalisation=Normalisation(mean=0.0, std=0.5))
    with pytest.raises(TuningError, match="threshold is 0.5"):
        TuningQuestion(model="m", data="d", target=Target(speedup=2.0), method=by(0.5, "constant:1"))


def test_a_method_that_says_so_and_does_not_go_by_it_is_told(small_model, small_fbank, monkeypatch) -> None:
    @reduction_method("deaf", label="deaf", limit=all_free, thresholds=True)
    def deaf(tokens, r, options) -> MergePlan:
        """Drop the last ones whatever the threshold."""
        return MergePlan(num_tokens=tokens.num_tokens, owner=slice(0, tokens.num_tokens - r))

    monkeypatch.setitem(METHODS._entries, "deaf", deaf)
    with (
        reduce(small_model, by(0.5, method="deaf")),
        pytest.raises(PlanError, match="deaf: block 1 got a plan without"),
    ):
        small_model(small_fbank)
