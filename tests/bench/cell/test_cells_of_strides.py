"""Cells of another stride: the candidate has it, and what speed-ups are over has the model's own."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from shallow_model import CLASSES, DEPTH, FRAMES, create_shallow
from test_worker import cell, quality_cell

from bench.cell import worker
from bench.cell.answers import Context
from bench.cell.arms import build_arms
from bench.cell.performance import performance_gates
from bench.measure.conditions import unknown_conditions
from bench.records.predictions import encode_predictions
from bench.records.schema import ArmTimes
from fastast import model_macs
from fastast.geometry import geometry
from fastast.hosts import reduce
from fastast.reduction import TokenReduction

STRIDED = 8 * 6 + 2
"""By hand: (128 - 16) / 16 + 1 rows, (96 - 16) / 16 + 1 columns, two prefix tokens."""
SHALLOW = {"num_frames": FRAMES, "depth": DEPTH, "num_classes": CLASSES}
OWN, SHAPE = geometry("tiny", **SHALLOW), geometry("tiny", fstride=16, tstride=16, **SHALLOW)
MERGE = TokenReduction(schedule="constant:2")  # type: ignore[arg-type]


def strided(**changes: object):
    usual = cell(**changes)
    return dataclasses.replace(usual, model=dataclasses.replace(usual.model, stride=16))


def test_a_stride_alone_is_timed_against_the_model_at_its_own() -> None:
    answer = worker.answer(strided(reduction=None), Context())
    assert list(answer.performance.arms) == ["candidate", "unmerged", "tome_plain"]
    assert answer.model.tokens_in == STRIDED
    assert answer.model.tokens_measured == answer.model.tokens_planned == (STRIDED,) * DEPTH
    assert answer.model.macs_per_clip == answer.model.macs_counted == model_macs(SHAPE)
    assert answer.model.macs_unmerged == model_macs(OWN)
    assert answer.model.geometry["fstride"] == 16
    assert all(gate.passed for gate in answer.gates if gate.name in ("tokens", "macs", "identity"))


def test_merging_at_a_stride_has_the_same_denominator() -> None:
    answer = worker.answer(strided(reduction=MERGE), Context())
    assert list(answer.performance.arms) == ["candidate", "unmerged", "slice", "tome_plain"]
    assert answer.model.tokens_measured == tuple(STRIDED - 2 * (i + 1) for i in range(DEPTH))
    assert answer.model.macs_unmerged == model_macs(OWN)


def test_which_arm_has_which_stride() -> None:
    torch.manual_seed(0)
    model, candidate, own = (create_shallow(num_frames=FRAMES, stride=s).eval() for s in (16, 16, None))
    usual = strided(reduction=MERGE)
    names = ("unmerged", "slice", "tome_plain", "timm")
    asked = dataclasses.replace(usual, measure=usual.measure.model_copy(update={"baselines": names}))
    reduce(candidate, MERGE)
    fbank = torch.randn(2, FRAMES, 128)
    with torch.inference_mode():
        built = build_arms(asked, model, candidate, own=own)
        for name in ("unmerged", "timm"):
            torch.testing.assert_close(built[name](fbank), own(fbank), rtol=1e-4, atol=1e-5)
        assert torch.equal(built["candidate"](fbank), candidate(fbank))
    assert built["slice"].attached.reduction.tokens_per_block(SHAPE) == MERGE.tokens_per_block(SHAPE)
    assert built["tome_plain"].model.geometry == SHAPE


def test_the_mac_bound_is_over_the_models_own_stride() -> None:
    def arm(seconds: float) -> ArmTimes:
        return ArmTimes(seconds=(seconds,) * 5, iterations_per_round=1, batch_size=2, first_call_s=None, load=None)

    usual = strided(reduction=None)
    asked = dataclasses.replace(usual, measure=usual.measure.model_copy(update={"bound_tolerance": 0.25}))
    part = worker.answer(asked, Context()).performance
    ratio = model_macs(OWN) / model_macs(SHAPE)
    for faster, passed in ((1.2, True), (1.3, False)):
        timed = part.model_copy(update={"arms": {"candidate": arm(1.0), "unmerged": arm(ratio * faster)}})
        found = performance_gates(asked, SHAPE, timed, unknown_conditions(), own=OWN)
        assert {gate.name: gate.passed for gate in found}["mac_bound"] == passed


def test_the_quality_of_a_stride_is_a_difference_to_the_model_at_its_own(tmp_path) -> None:
    asked, _, features = quality_cell(tmp_path)
    unmerged = dataclasses.replace(asked, reduction=None)
    first = worker.answer(unmerged, Context(features=features))
    path = tmp_path / "predictions.npz"
    path.write_bytes(encode_predictions(first.predictions, first.hashes))
    other = dataclasses.replace(unmerged, model=dataclasses.replace(unmerged.model, stride=16))
    assert other.compared_with().id == unmerged.id
    scored = worker.answer(other, Context(features=features, reference=(unmerged.id, path)))
    assert scored.quality.delta.against == unmerged.id
    assert scored.quality.delta.mAP == pytest.approx(scored.quality.mAP - first.quality.mAP)
    assert scored.quality.delta.largest_score_difference > 0


def test_the_oracle_has_the_place_of_the_candidate() -> None:
    torch.manual_seed(0)
    model = create_shallow(num_frames=FRAMES).eval()
    reduction = dataclasses.replace(MERGE, place="after")
    built = build_arms(cell(reduction=reduction), model, model)
    assert built["slice"].attached.reduction.place == "after"
