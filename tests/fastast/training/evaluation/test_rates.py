"""The rates of an evaluation, and whether reading or the model limits it."""

from __future__ import annotations

import time

import pytest
import torch

from fastast.training.evaluation.rates import Rates, Stopwatch, rates_of


def test_the_slower_side_limits() -> None:
    rates = Rates(reading=100.0, readers=2, filterbank=400.0, model={"": 150.0, "constant:40": 120.0})
    assert rates.limits("") == "reading"  # 1 / (1 / 400 + 1 / 150) = 109
    assert rates.limits("constant:40") == "model"  # 92
    said = rates.as_dict()
    assert said["limits"] == {"unmerged": "reading", "constant:40": "model"}
    assert said["reading_per_core"] == 50.0


def test_rates_are_those_of_all_processes_and_their_readers() -> None:
    one = (10, {"reading": 2.0, "filterbank": 1.0, "model ": 0.5})
    other = (20, {"reading": 2.0, "filterbank": 1.0, "model ": 0.5})
    found = rates_of([one, other, (0, {})], [""], workers=3)
    assert found.reading == (5 + 10) * 3
    assert found.readers == 6
    assert found.filterbank == 30
    assert found.model == {"": 60}


def test_the_first_batch_counts_only_where_there_is_no_other() -> None:
    watch = Stopwatch(torch.device("cpu"))
    with watch.part("filterbank"):
        time.sleep(0.05)
    watch.end_batch(4)
    clips, seconds = watch.result()
    assert clips == 4
    assert seconds["filterbank"] >= 0.05
    watch.add("filterbank", 0.25)
    watch.end_batch(2)
    assert watch.result() == (2, {"filterbank": pytest.approx(0.25)})
