"""Counts that a change must not raise; they are the same on every machine, so the gate has no tolerance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.regression.cases import gate_model, reduction
from bench.regression.gates import Gates, proxy_gate
from bench.regression.proxies import REMOVALS, count
from bench.regression.verdicts import Verdict, judge_proxy
from fastast import model_macs


@pytest.mark.parametrize("r", REMOVALS, ids=lambda r: f"r{r}")
def test_counts(r: int, gates: Gates, judge: Callable[[list[Verdict]], None]) -> None:
    gate, counted = proxy_gate(gates, f"r{r}"), count(r)
    geometry = gate_model().geometry
    planned = reduction(r).tokens_per_block(geometry)
    assert counted["tokens_per_block"] == list(planned)
    assert counted["macs"] == model_macs(geometry, reduction(r)), "macs: counted and by formula"
    versions = {"made_with": gates["proxies"]["torch"], "torch": torch.__version__.split("+")[0]}
    judge([judge_proxy(name, counted[name], value, **versions) for name, value in gate.items()])
