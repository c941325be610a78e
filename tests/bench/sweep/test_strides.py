"""Strides as an axis of a sweep: which cells there are, and what each is compared with."""

from __future__ import annotations

import dataclasses

import pytest

from bench.sweep.cells import Cell, canonical
from bench.sweep.complaints import ConfigError
from bench.sweep.config import SweepConfig
from bench.sweep.expansion import expand


def cells(grid: dict[str, object], kinds: tuple[str, ...] = ("performance",), **parts: object) -> tuple[Cell, ...]:
    return expand(
        SweepConfig.model_validate({"name": "any", "kinds": kinds, "grid": grid, "data": {"clips": 20}} | parts)
    )


def test_the_models_own_stride_is_no_part_of_the_question() -> None:
    both = ("performance", "quality")
    usual = cells({"r": [0, 20]}, both)
    for own in ([0], [10], [0, 10]):
        assert [cell.id for cell in cells({"r": [0, 20], "stride": own}, both)] == [cell.id for cell in usual]
    assert all("stride" not in canonical(cell.question) for cell in usual)


def test_every_stride_is_a_cell_of_its_own() -> None:
    found = cells({"stride": [10, 12, 16]})
    assert [cell.model.stride for cell in found] == [None, 12, 16]
    assert [cell.is_unmerged for cell in found] == [True, False, False]
    assert '"stride":16' in canonical(found[2].question)
    assert len({cell.id for cell in found}) == 3
    assert "stride 16 batch 1" in found[2].title
    assert "stride 16 tome constant:10" in cells({"stride": [16], "r": [10]})[0].title


def test_quality_is_compared_with_the_unmerged_model_at_its_own_stride() -> None:
    found = cells({"stride": [16, 10], "r": [10, 0]}, ("quality",))
    (unmerged,) = (cell for cell in found if cell.is_unmerged)
    assert found[0] == unmerged  # comes first, so that the others find its predictions
    assert unmerged.compared_with() is None
    assert {cell.compared_with().id for cell in found if cell is not unmerged} == {unmerged.id}  # type: ignore[union-attr]


def test_the_oracle_of_a_stride_alone_is_left_out() -> None:
    strided, merged = cells({"stride": [16], "r": [0, 10]})
    assert strided.question["measure"]["baselines"] == ["unmerged"]
    assert merged.question["measure"]["baselines"] == ["unmerged", "slice"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"stride": [10, 17]}, r"grid\.stride\.1: is 17; patches of 16 would leave out .* allowed: 1 to 16, or 0"),
        ({"stride": [16], "r": [40]}, r"grid\.r\.0: at stride 16: reduction tome constant:40: block .* largest r of"),
    ],
)
def test_what_a_stride_cannot_do_is_said_up_front(grid: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cells(grid)


@pytest.mark.parametrize(
    ("value", "message"), [(-1, "is -1; it must be a whole number of at least 0"), ("x", "integer")]
)
def test_a_stride_is_a_whole_number(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SweepConfig.model_validate({"name": "any", "grid": {"stride": [value]}})


def test_an_exclusion_may_name_strides() -> None:
    found = cells({"stride": [10, 16], "r": [0, 40]}, exclude=[{"stride": 16, "r": 40}])
    assert {(cell.model.stride, cell.reduction is None) for cell in found} == {(None, True), (None, False), (16, True)}
    assert len(found) == 3


def test_a_place_is_an_axis_and_its_default_no_part_of_the_question() -> None:
    usual, after = cells({"r": [10], "place": ["between", "after"]})
    assert usual.id == cells({"r": [10]})[0].id
    assert after.question["reduction"]["place"] == "after"
    assert dataclasses.replace(after, reduction=usual.reduction).id == usual.id
    with pytest.raises(ConfigError, match=r"grid\.r\.0: reduction tome constant:10: block 1 removes 10 tokens before"):
        cells({"r": [10], "place": ["before"]})
    with pytest.raises(ValueError, match="'inside' is not a place"):
        cells({"r": [10], "place": ["inside"]})
