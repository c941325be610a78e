"""A process that is measured while a test disturbs it: two arms of products on two threads, and what was seen.

Prints `ready` when it begins, then one line of JSON. With a file given, each call also reads it through the page cache,
as a model reads weights that are mapped.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch

from bench.measure.counters import usable_cores, usable_processors
from bench.measure.disturbance import Judge
from bench.measure.load import Meter
from bench.measure.timing import TimingRule, measure
from fastast.system.clocks import WallClock


def main(rounds: int, mapped: str | None = None) -> None:
    torch.set_num_threads(2)
    weights = None if mapped is None else np.memmap(mapped, dtype=np.uint8, mode="r")

    def arm(width: int):
        left, right = torch.randn(600, 600), torch.randn(600, width)

        def call() -> None:
            if weights is not None:
                weights[::4096].sum()
            left @ right

        return call

    rule = TimingRule(rounds=rounds, min_seconds=0, max_seconds=30, round_seconds=0.05, warmup_tolerance=0.5)
    arms = {"candidate": arm(600), "unmerged": arm(1200)}
    print("ready", flush=True)
    judge = Judge(cores=usable_cores(), processors=usable_processors())
    timing = measure(arms, rule, WallClock(), observer=Meter(2), judge=judge)
    seen = {reason for one in timing.repeated for reason in one.reasons}
    loads = [load for arm in timing.arms.values() for load in arm.loads]
    found = {
        "rounds": timing.rounds,
        "repeated": len(timing.repeated),
        "reasons": sorted(seen),
        "disturbed": timing.disturbed,
        "waited": float(np.mean([load.waited or 0 for load in loads])),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
