"""Events of scores, computed by hand, and their tables as other programs read them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fastast.inference.event_files import event_format, write_events
from fastast.inference.events import Event, EventCollector, EventRule

WINDOWS = [(0, 4), (2, 6), (4, 8), (6, 10), (8, 12)]
"""Seconds."""
SCORES = np.array([[0.9, 0.1], [0.6, 0.5], [0.2, 0.8], [0.1, 0.2], [0.7, 0.1]])
"""(windows, classes): a dog and rain."""


def collected(rule: EventRule) -> list[tuple[float, float, str, float]]:
    collector = EventCollector(rule, ("dog", "rain"))
    for (start, end), scores in zip(WINDOWS, SCORES, strict=True):
        collector.add(start, end, scores)
    return [(event.start, event.end, event.label, event.score) for event in collector.events()]


def test_windows_that_overlap_are_one_event_with_the_highest_score() -> None:
    assert collected(EventRule()) == [(0, 6, "dog", 0.9), (2, 8, "rain", 0.8), (8, 12, "dog", 0.7)]


def test_windows_that_touch_are_one_event_and_a_gap_may_be_bridged() -> None:
    collector = EventCollector(EventRule(), ("dog",))
    for start in (0.0, 0.1 + 0.2, 0.3 + 0.3, 2.0):  # of 0.3 s each; 0.1 + 0.2 is more than 0.3
        collector.add(start, start + 0.3, np.array([1.0]))
    assert [(event.start, round(event.end, 6)) for event in collector.events()] == [(0, 0.9), (2, 2.3)]
    assert collected(EventRule(gap=2)) == [(0, 12, "dog", 0.9), (2, 8, "rain", 0.8)]
    assert collected(EventRule(gap=1.9)) == collected(EventRule())


def test_unmerged_every_window_is_an_event() -> None:
    assert collected(EventRule(threshold=0.6, merge=False)) == [
        (0, 4, "dog", 0.9),
        (2, 6, "dog", 0.6),
        (4, 8, "rain", 0.8),
        (8, 12, "dog", 0.7),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold is 1.5; it must be a score"),
        ({"threshold": float("nan")}, "it must be a score"),
        ({"gap": -1.0}, "at least 0 seconds"),
        ({"gap": 1.0, "merge": False}, "not both"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EventRule(**options)  # type: ignore[arg-type]


EVENTS = [
    Event(start=0.0, end=5.12749, label="Bird, song", score=0.98765),
    Event(start=2.5, end=3600.25, label="Water", score=0.5),
]


def test_tables_are_what_other_programs_read(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl", "a.txt"):
        with write_events(tmp_path / name, event_format(tmp_path / name)) as write:
            write(Path("clips/bird.wav"), EVENTS)
            assert not (tmp_path / name).exists()
    expected = [
        {"file": "clips/bird.wav", "start": 0.0, "end": 5.127, "label": "Bird, song", "score": 0.9877},
        {"file": "clips/bird.wav", "start": 2.5, "end": 3600.25, "label": "Water", "score": 0.5},
    ]
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{key: str(value) for key, value in row.items()} for row in expected] == rows
    assert list(map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())) == expected
    # Audacity: "start<tab>end<tab>label", seconds with a decimal point
    # (https://manual.audacityteam.org/man/importing_and_exporting_labels.html).
    assert (tmp_path / "a.txt").read_text() == (
        "0.000000\t5.127490\tBird, song (0.99)\n2.500000\t3600.250000\tWater (0.50)\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "a.jsonl", "a.txt"}


def test_an_error_leaves_the_table_of_before(tmp_path: Path) -> None:
    def fail() -> None:
        with write_events(tmp_path / "a.csv", "csv") as write:
            write(Path("bird.wav"), EVENTS)
            raise RuntimeError

    (tmp_path / "a.csv").write_text("before")
    with pytest.raises(RuntimeError):
        fail()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_the_ending_says_the_format_unless_it_is_said() -> None:
    assert event_format(Path("a.NDJSON")) == "jsonl"
    assert event_format(Path("a.labels"), "audacity") == "audacity"
    with pytest.raises(
        ValueError, match=r"a.xlsx: the file name does not say .* --events-format csv or jsonl or audacity"
    ):
        event_format(Path("a.xlsx"))
    with pytest.raises(ValueError, match="Did you mean 'csv'"):
        event_format(Path("a.csv"), "cvs")
