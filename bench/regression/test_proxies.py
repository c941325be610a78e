"""Counts that a change must not raise: they are the same on every machine, so they gate hard."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.regression.cases import build_model, reduction
from bench.regression.gates import Gates, Verdict, find_gate, judge_proxy
from bench.regression.proxies import REMOVALS, count
from fastast import model_macs


@pytest.mark.parametrize("r", REMOVALS, ids=lambda r: f"r{r}")
def test_counts(r: int, gates: Gates, judge: Callable[[list[Verdict]], None]) -> None:
    counted, made_with = count(r), find_gate(gates, "proxies", "torch")
    geometry = build_model().geometry
    planned = reduction(r).tokens_per_block(geometry)
    assert counted["tokens_per_block"] == list(planned)
    assert counted["macs"] == model_macs(geometry, planned), "macs: counted and by formula"
    gate = find_gate(gates, "proxies", f"r{r}")
    judge([judge_proxy(name, counted[name], value, made_with=made_with) for name, value in gate.items()])
