"""Quality cells with a threshold: the distribution of the clips' own numbers of tokens, and what follows from it."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from report.records import record
from shallow_model import CLASSES, DEPTH, FRAMES, TOKENS, create_shallow
from test_worker import quality_cell

from bench.cell import worker
from bench.cell.answers import Context
from bench.cell.clip_tokens import clip_macs
from bench.measure.gates import no_fewer_tokens
from bench.records.export import to_frame
from bench.sweep.complaints import ConfigError
from bench.sweep.config import SweepConfig
from bench.sweep.expansion import expand
from fastast import model_macs
from fastast.geometry import geometry
from fastast.hosts import reduce
from fastast.reduction import MergeTrace, TokenReduction

SHAPE = geometry("tiny", num_frames=FRAMES, depth=DEPTH, num_classes=CLASSES)


def above(threshold: float, schedule: str = "constant:4") -> TokenReduction:
    return TokenReduction(schedule=schedule, threshold=threshold)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A cell whose threshold lies between what its clips have, and what they have by a forward of their own."""
    asked, features, feature_set = quality_cell(tmp_path_factory.mktemp("quality"))
    torch.manual_seed(asked.seed)
    model = create_shallow(num_frames=FRAMES).eval()
    for threshold in np.arange(0.99, 0.5, -0.01):
        own = []
        with reduce(model, above(float(threshold))), torch.no_grad():
            for clip in torch.from_numpy(features):
                trace = MergeTrace()
                model(clip[None], trace)
                own.append(trace.tokens_per_block)
        if len({tuple(one) for one in own}) > 1:
            break
    else:
        raise AssertionError("the clips have the same numbers of tokens at every threshold")
    cell = dataclasses.replace(asked, reduction=above(float(threshold)))
    return worker.answer(cell, Context(features=feature_set)), np.array(own), cell.reduction


def test_the_distribution_is_that_of_the_clips(answered) -> None:
    answer, own, _ = answered
    found = answer.quality.clip_tokens
    assert found.left == {str(k): v for k, v in sorted(Counter(own[:, -1].tolist()).items())}
    assert sum(found.left.values()) == 6
    np.testing.assert_allclose(found.mean, own.mean(0))
    assert found.least == tuple(own.min(0))
    assert found.most == tuple(own.max(0))


def test_tokens_and_multiply_accumulates_are_the_clips(answered) -> None:
    answer, own, reduction = answered
    expected = [sum_of_macs(one) for one in own.tolist()]
    assert answer.model.macs_per_clip == pytest.approx(np.mean(expected), abs=1)
    assert answer.model.macs_counted is None
    assert answer.model.tokens_measured == tuple(np.rint(own.mean(0)).astype(int))
    assert answer.model.tokens_planned == reduction.tokens_per_block(SHAPE)
    assert all(gate.passed for gate in answer.gates)


def sum_of_macs(left: list[int]) -> int:
    """By hand: attention sees what enters, the MLP what leaves; every block compares its keys."""
    d, total = 192, (TOKENS - 2) * 256 * 192 + CLASSES * 192
    for before, after in zip([TOKENS, *left[:-1]], left, strict=True):
        free = before - 2
        total += 4 * before * d * d + 2 * before * before * d + 8 * after * d * d
        total += (free + 1) // 2 * (free // 2) * 64
    return total


def test_of_fixed_numbers_they_are_the_models() -> None:
    reduction = TokenReduction(schedule="constant:4")  # type: ignore[arg-type]
    left = reduction.tokens_per_block(SHAPE)
    assert clip_macs(SHAPE, reduction, left) == model_macs(SHAPE, reduction)


def test_more_tokens_than_planned_pass_and_fewer_do_not() -> None:
    assert no_fewer_tokens((10, 8), (10, 9)).passed
    assert not no_fewer_tokens((10, 8), (10, 7)).passed
    assert not no_fewer_tokens((10, 8), (10,)).passed


def test_other_cells_have_no_distribution(tmp_path) -> None:
    asked, _, features = quality_cell(tmp_path)
    assert worker.answer(asked, Context(features=features)).quality.clip_tokens is None


@pytest.mark.parametrize(
    ("grid", "kind", "message"),
    [
        ({"threshold": [0.8]}, "performance", r"grid\.threshold\.0: each clip decides on its .* kinds = \['quality'\]"),
        ({"threshold": [-1, 0.8], "engine": ["triton"]}, "quality", r"grid\.threshold\.1: engine 'triton' must know"),
        (
            {"threshold": [0.8], "method": ["pool"]},
            "quality",
            "grid: reduction pool: threshold is 0.8, but the method does not merge by one",
        ),
    ],
)
def test_what_a_threshold_cannot_be_measured_for_is_said_up_front(grid, kind, message) -> None:
    config = {"name": "any", "kinds": [kind], "data": {"clips": 20}, "grid": {"r": [10]} | grid}
    with pytest.raises(ConfigError, match=message):
        expand(SweepConfig.model_validate(config))


def test_a_threshold_that_is_no_cosine_is_refused() -> None:
    with pytest.raises(ValueError, match="is 1.5; give a cosine above -1 and up to 1, or -1 for no threshold"):
        SweepConfig.model_validate({"name": "any", "grid": {"threshold": [1.5]}})


def test_no_threshold_is_no_part_of_the_question() -> None:
    def cells(grid: dict[str, object]) -> list[str]:
        config = {"name": "any", "kinds": ["quality"], "data": {"clips": 20}, "grid": {"r": [0, 10]} | grid}
        return [cell.id for cell in expand(SweepConfig.model_validate(config))]

    usual = cells({})
    assert cells({"threshold": [-1]}) == usual
    assert len(set(cells({"threshold": [-1, 0.8]})) - set(usual)) == 1


def test_the_flat_view_says_the_threshold() -> None:
    found = record("quality", "constant:40")
    question = found.cell.question | {"reduction": found.cell.question["reduction"] | {"threshold": 0.8}}
    cell = found.cell.model_copy(update={"question": question})
    (row,) = to_frame([found.model_copy(update={"cell": cell})]).to_dict("records")
    assert row["options"] == "threshold=0.8"


@pytest.mark.parametrize(
    ("schedule", "model", "expected"),
    [
        ("none", {"length": "own"}, {"method": "own_length", "schedule": "own_length", "r": 0, "options": ""}),
        ("constant:40", {"length": "own"}, {"method": "tome", "schedule": "constant:40", "options": "length=own"}),
        (
            "none",
            {"length": "own", "stride": 16},
            {"method": "stride", "schedule": "stride:16", "options": "length=own"},
        ),
    ],
)
def test_the_flat_view_tells_own_lengths_from_padding(schedule, model, expected) -> None:
    found = record("quality", schedule)
    question = found.cell.question | {"model": found.cell.question["model"] | model}
    cell = found.cell.model_copy(update={"question": question})
    (row,) = to_frame([found.model_copy(update={"cell": cell})]).to_dict("records")
    assert {name: row[name] for name in expected} == expected
