"""The front that the page computes anew under its filters is that of the reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scripts import call, needs_node

from bench.page.points import page_panels
from bench.records.store import read_records
from bench.report.pareto import Point, standing

ROOT = Path(__file__).parents[3]
STANDINGS = "(panels) => panels.map(standings)"

pytestmark = needs_node


def some_points(generator: np.random.Generator) -> list[dict[str, Any]]:
    """Points with many ties, some of them without an interval, as those of fewer than five rounds."""
    points = []
    for x, y in generator.integers(0, 6, (generator.integers(1, 12), 2)).tolist():
        low, high = generator.integers(0, 3, 2).tolist()
        known = generator.random() > 0.2
        points.append(
            {
                "status": "ok",
                "throughput": x,
                "score": y,
                "throughput_low": x - low if known else None,
                "throughput_high": x + high if known else None,
                "compared_low": y - low,
                "compared_high": y + high,
            }
        )
    return points


def by_reports(points: list[dict[str, Any]]) -> list[str]:
    def number(value: float | None) -> float:
        return float("nan") if value is None else float(value)

    return standing(
        [
            Point(
                throughput=point["throughput"],
                quality=point["score"],
                throughput_interval=(number(point["throughput_low"]), number(point["throughput_high"])),
                quality_interval=(point["compared_low"], point["compared_high"]),
            )
            for point in points
        ]
    )


def test_it_stands_as_the_reports_say_whatever_the_points() -> None:
    generator = np.random.default_rng(0)
    panels = [some_points(generator) for _ in range(300)]
    expected = [by_reports(points) for points in panels]
    assert {word for words in expected for word in words} == {"front", "dominated", "clearly dominated"}
    assert call(STANDINGS, panels, "front") == expected


def test_of_the_committed_records_it_stands_as_in_their_report() -> None:
    panels = page_panels(read_records(ROOT / "results"))
    expected = [[point["standing"] for point in panel["points"]] for panel in panels]
    assert sum(word == "front" for words in expected for word in words) > 5
    assert call(STANDINGS, [panel["points"] for panel in panels], "front") == expected


def test_what_is_disturbed_is_on_no_front_and_in_nobodys_way(panel) -> None:
    names = [point["name"] for point in panel["points"]]
    assert dict(zip(names, call(STANDINGS, [panel["points"]], "front")[0], strict=True)) == {
        "unmerged": "front",  # the disturbed one is a hundred times as fast and loses 0.001
        "ToMe, constant r, r = 20": "clearly dominated",
        "ToMe, constant r, r = 40": "front",
        "ToMe, decreasing r, r = 20": "disturbed",
        "ToMe, decreasing r, r = 40": "front",
    }


def test_without_what_beat_it_a_point_comes_onto_the_front(panel) -> None:
    shown = [point for point in panel["points"] if point["name"] != "ToMe, constant r, r = 40"]
    words = call(STANDINGS, [shown], "front")[0]
    assert words[[point["name"] for point in shown].index("ToMe, constant r, r = 20")] == "front"
