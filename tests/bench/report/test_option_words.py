"""Options are named in words that a reader of a figure understands without the code."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from records import record

from bench.report.frame import join
from bench.report.option_words import option_words
from bench.report.words import series_name
from fastast.reduction.choosing.compare import Distance, Heads, Metric
from fastast.reduction.choosing.partition import Partition
from fastast.reduction.combine import Combine


@pytest.mark.parametrize(
    ("reduction", "words"),
    [
        ({"metric": "before"}, "ToMe, constant r, by tokens before attention"),
        ({"metric": "branch"}, "ToMe, constant r, by the output of attention"),
        ({"metric": "queries"}, "ToMe, constant r, by queries"),
        ({"order": "position"}, "ToMe, constant r, tokens in order of position"),
        ({"proportional": False}, "ToMe, constant r, unweighted attention"),
        ({"excess": "cap"}, "ToMe, constant r, capped"),
        ({"partition": "time"}, "ToMe, constant r, sets alternate in time"),
        ({"num_protected": 0}, "ToMe, constant r, no protected tokens"),
        ({"num_protected": 1}, "ToMe, constant r, 1 protected token"),
        ({"threshold": 0.95}, "ToMe, constant r, threshold 0.95"),
        ({"place": "after"}, "ToMe, constant r, placed after the MLP"),
        ({"method": "pool", "axis": "both"}, "uniform pooling, constant r, over time and frequency"),
        (
            {"method": "local", "window": "time", "time": 1},
            "local merging, constant r, within 1 patch in time, window in time",
        ),
    ],
)
def test_a_series_is_named_in_words(reduction: dict[str, Any], words: str) -> None:
    found = record("performance", "constant:20")
    asked: dict[str, Any] = found.cell.question
    whole = {
        name: value
        for name, value in asked["reduction"].items()
        if reduction.get("method", "tome") == "tome" or name in ("method", "schedule", "proportional")
    }
    asked = asked | {"reduction": whole | reduction}
    cell = found.cell.model_copy(update={"question": asked})
    (row,) = [row for _, row in join([found.model_copy(update={"cell": cell})]).iterrows()]
    assert series_name(row) == words


def test_a_length_of_its_own_is_called_the_same_merged_or_not() -> None:
    assert option_words("length", "own") == "own length"


@pytest.mark.parametrize(
    ("name", "choices"),
    [("metric", Metric), ("heads", Heads), ("distance", Distance), ("partition", Partition), ("combine", Combine)],
)
def test_every_choice_has_words(name: str, choices: Any) -> None:
    words = {choice: option_words(name, choice) for choice in get_args(choices)}
    assert not [choice for choice, text in words.items() if text == f"{name} {choice}"]
    assert len(set(words.values())) == len(words)
