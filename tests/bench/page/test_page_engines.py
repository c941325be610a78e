"""Engines that share a panel are compared with one model: speeds, losses, lines, readings, bars, colours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import call, needs_node

from bench.page.points import page_panels
from bench.records.schema import Record
from bench.report.drawing.style import COLOURS, MARKERS
from bench.report.figures import pareto_figure
from bench.report.frame import join

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
import records as made


def engines(*, plain_arm: bool = True) -> list[Record]:
    """Plain PyTorch at 8 clips/s and 0.5, int8 twice as fast and 0.02 worse unmerged; merged, twice as fast, less 0.01.

    PyTorch stands last, as its name does.
    """
    found = []
    for engine, dtype, seconds, score in (("openvino", "int8", 0.5, 0.48), ("plain", "float32", 1.0, 0.5)):
        setup: dict[str, Any] = {"engine": engine, "dtype": dtype}
        arm = {"plain": 1.0} if engine != "plain" and plain_arm else {}
        found += [
            made.record("performance", seconds=seconds, unmerged=seconds, **setup, **arm),
            made.record("performance", "constant:20", seconds=seconds / 2, unmerged=seconds, **setup, **arm),
            made.record("quality", quality=score, **setup),
            made.record("quality", "constant:20", quality=score - 0.01, delta=-0.01, **setup),
        ]
    return found


def test_losses_are_over_the_model_that_speeds_are_over() -> None:
    (panel,) = page_panels(engines())
    points = {point["name"]: point for point in panel["points"]}
    assert {name: (round(point["speed"], 2), round(point["delta_score"], 4)) for name, point in points.items()} == {
        "PyTorch float32, unmerged": (1, 0),
        "PyTorch float32, ToMe, constant r, r = 20": (2, -0.01),
        "OpenVINO int8, unmerged": (2, -0.02),
        "OpenVINO int8, ToMe, constant r, r = 20": (4, -0.03),
    }
    assert [name for name, point in points.items() if point["reference"]] == ["PyTorch float32, unmerged"]
    # What is not paired with that model has no interval of its difference; its bar is the report's.
    merged = points["OpenVINO int8, ToMe, constant r, r = 20"]
    assert (merged["delta_score_low"], merged["delta_score_high"]) == (None, None)
    assert (merged["bar_low"], merged["bar_high"]) == pytest.approx((-0.031, -0.029))
    assert (merged["drawn_low"], merged["drawn_high"]) == pytest.approx((0.469, 0.471))
    own = points["PyTorch float32, ToMe, constant r, r = 20"]
    assert (own["delta_score_low"], own["delta_score_high"]) == pytest.approx((-0.011, -0.009))
    assert panel["over"] == "plain PyTorch, unmerged"
    assert panel["notes"][0].startswith("On this page all engines of a panel are compared with one model")


def test_without_that_model_every_engine_is_over_its_own() -> None:
    (panel,) = page_panels(engines(plain_arm=False))
    points = {point["name"]: point for point in panel["points"]}
    merged = points["OpenVINO int8, ToMe, constant r, r = 20"]
    assert (merged["speed"], merged["delta_score"]) == pytest.approx((2, -0.01))
    assert not any(point["reference"] for point in panel["points"])
    assert panel["over"] == "unmerged"


@needs_node
def test_lines_of_the_readings_are_taken_from_the_model_that_both_are_over() -> None:
    (panel,) = page_panels(engines())
    stub = (
        "([panel, state]) => { globalThis.themeColour = () => ''; return readingLines(panel, {front: true}, state); }"
    )
    state = {"axes": "absolute", "loss": 0.005, "speed": 1.5}
    across, up = call(stub, [panel, state], "front", "plot_lines")
    assert (across["y0"], up["x0"]) == pytest.approx((0.495, 12.0))
    (alone,) = page_panels(engines(plain_arm=False))
    assert call(stub, [alone, state], "front", "plot_lines") == []
    fastest = call("([points]) => fastestWithin(points, 0.0101).name", [panel["points"]], "readings")
    assert fastest == "PyTorch float32, ToMe, constant r, r = 20"  # int8 lost 0.02 before anything was merged


@pytest.mark.parametrize("records", [engines(), made.sweep()])
def test_a_series_has_the_colour_and_the_mark_of_its_reports(records) -> None:
    drawn = {}
    for axis in pareto_figure(join(records)).axes:
        for line in axis.lines:
            if line.get_marker() in MARKERS:
                drawn[round(float(line.get_xdata()[0]), 3), round(float(line.get_ydata()[0]), 3)] = line
    for panel in page_panels(records):
        for point in panel["points"]:
            place = panel["looks"][point["series"]]
            if place is None:
                assert point["series"] == "unmerged"
                continue
            line = drawn[round(point["throughput"], 3), round(point["score"], 3)]
            assert (line.get_color(), line.get_marker()) == (COLOURS[place], MARKERS[place])


@needs_node
def test_numbers_stand_beside_their_points_without_covering_others() -> None:
    points = [{"x": 100, "y": 100, "text": "40"}, {"x": 108, "y": 104, "text": "0"}, {"x": 300, "y": 50, "text": "20"}]
    first, second, third = call("(points) => labelPlaces(points)", points, "labels")
    assert first != "top right"  # there is the second point
    assert third == "top right"
    assert first != second
