"""What the page shows of its panels: choices, filters, what is read off, the order of its table, and its address."""

from __future__ import annotations

from typing import Any

import pytest
from scripts import call, needs_node

from bench.page.points import page_panels

pytestmark = needs_node

EMPTY = {"find": "", "without_method": [], "without_schedule": []}


@pytest.fixture
def panels(records) -> list[dict[str, Any]]:
    return page_panels(records)


def test_a_choice_narrows_the_next_and_what_is_not_offered_gives_way(panels) -> None:
    code = "([panels, states]) => states.map((state) => choosePanel(panels, state).offers)"
    states = [{}, {"device": "abacus", "batch": "8"}, {"device": "gone", "batch": "8"}]
    first, second, third = call(code, [panels, states], "front", "choices")
    assert first["batch"] == {"value": "1", "options": [["1", "batch size 1"], ["8", "batch size 8"]]}
    assert (second["device"]["value"], second["batch"]["value"]) == ("abacus", "8")
    assert third["device"]["value"] == first["device"]["value"]
    assert third["batch"]["value"] == "8"
    assert first["data"]["options"] == [["invented", "invented: mAP on 10 clips of invented invented"]]


def test_filters_leave_the_unmerged_model_and_what_they_name(panel) -> None:
    code = "([panel, states]) => states.map((state) => visiblePoints(panel, state).map((point) => point.name))"
    states = [
        EMPTY | {"without_schedule": ["constant"]},
        EMPTY | {"without_method": ["tome"]},
        EMPTY | {"find": "r = 40 const"},
    ]
    by_schedule, by_method, by_name = call(code, [panel, states], "front", "choices")
    assert by_schedule == ["unmerged", "ToMe, decreasing r, r = 20", "ToMe, decreasing r, r = 40"]
    assert by_method == ["unmerged"]
    assert by_name == ["unmerged", "ToMe, constant r, r = 40"]


def test_readings_are_measured_points_and_never_disturbed_ones(panel) -> None:
    """In `made.sweep`: constant:20 at 1.25 and -0.02, constant:40 at 2 and -0.01, decreasing:40 at 2.5 and -0.03; the
    disturbed one, at 100 and -0.001, has no part."""
    code = (
        "([points, losses, speeds]) => [losses.map((at) => fastestWithin(points, at)),"
        " speeds.map((at) => bestAtSpeed(points, at))]"
        ".map((all) => all.map((point) => point && point.short + point.schedule[0]))"
    )
    fastest, best = call(code, [panel["points"], [0.0, 0.0101, 0.0301], [1, 1.5, 2.1, 2.6]], "readings")
    assert fastest == ["0none", "40constant", "40decreasing"]
    assert best == ["0none", "40constant", "40decreasing", None]


def test_a_column_sorts_both_ways_with_what_is_missing_last() -> None:
    points = [{"speed": value} for value in (2, None, 1, 3)]
    sort = "sortPoints(points, {sorted: 'speed'}, down).map((point) => point.speed)"
    code = f"([points]) => [false, true].map((down) => {sort})"
    assert call(code, [points], "numbers") == [[1, 2, 3, None], [3, 2, 1, None]]


def test_numbers_have_a_real_minus_and_zero_no_sign() -> None:
    code = "(all) => all.map(([value, digits]) => numberText(value, digits, true))"
    asked = [[-0.0055, 4], [0.0055, 4], [-0.00001, 4], [None, 2]]
    assert call(code, asked, "numbers") == ["−0.0055", "+0.0055", "0.0000", ""]


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, ""),
        ({"find": "a&b=c #é", "loss": 0.01}, "#find=a%26b%3Dc+%23%C3%A9&loss=0.01"),
        ({"without": ["x:1,2", "y"]}, "#without=x%3A1%2C2&without=y"),
        ({"merging": []}, "#merging="),
        ({"down": True}, "#down=yes"),
    ],
)
def test_an_address_holds_what_differs_and_brings_it_back(changes, address) -> None:
    usual = {"find": "", "loss": 0.005, "without": [], "merging": ["tome"], "down": False}
    code = "([state, usual]) => { const text = writeAddress(state, usual); return [text, readAddress(text, usual)]; }"
    assert call(code, [usual | changes, usual], "address") == [address, usual | changes]


def test_nonsense_in_an_address_is_the_default() -> None:
    code = "([usual]) => readAddress('#loss=abc&unknown=1', usual)"
    assert call(code, [{"loss": 0.005}], "address") == {"loss": 0.005}
