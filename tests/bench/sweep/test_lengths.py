"""Own lengths as an axis of a sweep: which cells there are, what each is compared with, and what is refused."""

from __future__ import annotations

import pytest

from bench.sweep.cells import Cell, canonical
from bench.sweep.complaints import ConfigError
from bench.sweep.config import SweepConfig
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep

SHORT = {"clips": 20, "seconds": 2.0}


def cells(grid: dict[str, object], kinds: tuple[str, ...] = ("quality",), **parts: object) -> tuple[Cell, ...]:
    return expand(SweepConfig.model_validate({"name": "any", "kinds": kinds, "grid": grid, "data": SHORT} | parts))


def test_padding_is_no_part_of_the_question() -> None:
    usual = cells({"r": [0, 20]})
    assert [cell.id for cell in cells({"r": [0, 20], "length": ["padded"]})] == [cell.id for cell in usual]
    assert all("length" not in canonical(cell.question) for cell in usual)


def test_an_own_length_is_compared_with_the_padded_unmerged_model() -> None:
    found = cells({"r": [10, 0], "length": ["own", "padded"]})
    (unmerged,) = (cell for cell in found if cell.is_unmerged)
    assert found[0] == unmerged  # comes first, so that the others find its predictions
    assert unmerged.compared_with() is None
    assert {cell.compared_with().id for cell in found if cell is not unmerged} == {unmerged.id}  # type: ignore[union-attr]
    own = [cell for cell in found if cell.model.own_length]
    assert [cell.question["model"]["length"] for cell in own] == ["own", "own"]
    assert len({cell.id for cell in found}) == 4
    assert [cell.title.partition(" 20 clips")[0] for cell in own] == [
        "quality own length tome constant:10",
        "quality own length",
    ]


@pytest.mark.parametrize(
    ("grid", "parts", "message"),
    [
        ({"length": ["padded", "own"]}, {"kinds": ("performance",)}, r"grid\.length\.1: speed is timed on an input"),
        ({"length": ["own"], "engine": ["triton"]}, {}, r"grid\.length\.0: engine 'triton' has an input of one length"),
        (
            {"length": ["own"]},
            {"data": {"clips": 20, "seconds": 5.0}},
            r"grid\.length\.0: clips of 498 frames fill the input of 512; nothing is padded",
        ),
        (
            {"length": ["own"], "r": [40]},
            {},
            r"grid\.r\.0: at the clips' own length: .* The largest r of tome constant",
        ),
    ],
)
def test_what_own_lengths_cannot_do_is_said_up_front(grid, parts, message) -> None:
    with pytest.raises(ConfigError, match=message):
        cells(grid, **parts)


def test_an_unknown_length_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="'whole' is not a length.*padded, own"):
        SweepConfig.model_validate({"name": "any", "grid": {"length": ["whole"]}})


@pytest.mark.parametrize(("name", "seconds"), [("own_length_2s", 2.0), ("own_length_3s5", 3.5)])
def test_the_sweeps_of_own_lengths_expand(name: str, seconds: float) -> None:
    config = load_sweep(find_sweep(name))
    found = expand(config)
    assert config.data.model_extra == {"seconds": seconds}
    assert len(found) == 2 * len(config.grid.r)
    assert sum(cell.model.own_length for cell in found) == len(config.grid.r)
