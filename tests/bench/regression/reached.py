"""`python reached.py GATES`: write what this build reaches here, case by case, as the gate's file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

if os.environ.get("COUNTED_CLOCK"):
    import counted_clock  # noqa: F401

from bench.regression import baseline, proxies
from bench.regression.cases import CASES, arms_of, ratios
from bench.regression.gates import to_toml
from bench.regression.timing import measure_times

torch.set_num_threads(1)
case = CASES[-1]
measured = ratios(measure_times(arms_of(case), 11))["cpu"]
reached = {name: ratio.value for name, ratio in measured.items()}
counts = {"torch": torch.__version__.split("+")[0], "r0": proxies.count(0)}
key = baseline.this_machine("cpu")["key"]
Path(sys.argv[1]).write_text(to_toml({"proxies": counts, "ratios": {key: {"device": "cpu", str(case): reached}}}))
