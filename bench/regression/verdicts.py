"""Verdicts on measured values: a regression fails, an improvement is reported, and noise does neither.

Shapes: `k` rounds now, `l` rounds of the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.compare.statistics import ratio_of_independent_medians
from bench.regression.gates import RATIO_TOLERANCE, UPDATE
from fastast.statistics import Estimate

MEANT = f"If this is intended, run `{UPDATE}` and commit what it writes"
OF_PYTORCH = ("operators", "launches", "peak_bytes", "graphs")
"""Counts that also depend on PyTorch's version."""
SLOWER = 0.25
"""How much slower than its baseline the candidate may be, as a share."""
MEASUREMENTS = 3
"""Most measurements of a case."""
CONFIRMED = 2
"""Number of measurements in which a value must be worse to fail: other processes' load can fall on one arm."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one measured value."""

    state: Literal["ok", "worse", "better", "unsure", "not judged"]
    """`worse` is a failure; all but `ok` are reported. `unsure` is worth another measurement, `not judged` is not."""
    text: str
    """Value, gate, and what to do."""


def judge_proxy(name: str, value: int | list[int], gate: int | list[int], *, made_with: str, torch: str) -> Verdict:
    """Judge a deterministic count: tokens must equal the gate, other counts must not exceed it.

    made_with: version of PyTorch of the gate's values. torch: version that counted now.
    """
    if value == gate:
        return Verdict(state="ok", text=f"{name}: {value}, as the gate")
    if isinstance(value, list) or isinstance(gate, list):
        text = f"{name}: {value}, the gate has {gate}: a different computation. {MEANT}"
        return Verdict(state="worse", text=text)
    shown = f"{name}: {value:,}, the gate of {gate:,}"
    if name in OF_PYTORCH and torch != made_with:
        text = f"{shown} is from PyTorch {made_with}, this is {torch}: versions differ in their operators"
        return Verdict(state="not judged", text=text)
    if value < gate:
        text = f"{name}: {value:,} is better than the gate of {gate:,}; keep it with `{UPDATE} --only proxies`"
        return Verdict(state="better", text=text)
    share = f", {value / gate - 1:.1%} more" if gate else ""
    return Verdict(state="worse", text=f"{name}: {value:,} is above the gate of {gate:,}{share}. {MEANT}")


def judge_ratio(name: str, measured: Estimate, gate: float, *, tolerance: float = RATIO_TOLERANCE) -> Verdict:
    """Judge a ratio of which more is better: it is worse only if its whole interval is below gate minus tolerance."""
    shown = f"{name}: {measured.value:.3f} [{measured.low:.3f}, {measured.high:.3f}]"
    floor, ceiling = gate * (1 - tolerance), gate * (1 + tolerance)
    least = f"{floor:.3f}, the gate of {gate:.3f} minus {tolerance:.0%}"
    if measured.high < floor:
        return Verdict(state="worse", text=f"{shown} is entirely below {least}")
    if measured.low < floor:
        return Verdict(state="unsure", text=f"{shown} is too noisy to tell whether it is below {least}")
    if measured.low > ceiling:
        text = f"{shown} is better than the gate of {gate:.3f}; keep it with `{UPDATE} --only ratios`"
        return Verdict(state="better", text=text)
    return Verdict(state="ok", text=f"{shown}, the gate is {gate:.3f}")


def judge_time(
    now: Mapping[str, Sequence[float]],
    then: Mapping[str, Sequence[float]],
    *,
    slower: float = SLOWER,
    tolerance: float = RATIO_TOLERANCE,
) -> Verdict:
    """Judge the candidate's seconds against those of a baseline of the same machine.

    Both sides have the arms `candidate` and `reference`, timed in the same rounds: (k,) seconds now, (l,) then. As a
    machine is not always equally fast, and the reference arm's code never changes, the candidate is worse only if it is
    slower than the baseline by more than `slower`, and also relative to the reference arm by more than `tolerance`,
    each with its whole interval.
    """
    absolute = ratio_of_independent_medians(now["candidate"], then["candidate"])
    relative = ratio_of_independent_medians(
        np.divide(now["candidate"], now["reference"]), np.divide(then["candidate"], then["reference"])
    )
    seconds = [float(np.median(side["candidate"])) * 1e3 for side in (now, then)]
    shown = (
        f"time: {seconds[0]:.1f} ms, {_interval(absolute)} times the baseline's {seconds[1]:.1f} ms; relative to the "
        f"reference arm of the same rounds {_interval(relative)} times"
    )
    if absolute.low > 1 + slower and relative.low > 1 + tolerance:
        return Verdict(state="worse", text=f"{shown}. If this is intended, keep it with --regression-save")
    if absolute.low > 1 + slower:
        text = (
            f"{shown}: the machine is slower now, or what all arms share is (PyTorch, its threads), so the baseline "
            "cannot judge this run"
        )
        return Verdict(state="not judged", text=text)
    if absolute.high < 1 / (1 + slower) and relative.high < 1 / (1 + tolerance):
        return Verdict(state="better", text=f"{shown}; keep it with --regression-save")
    return Verdict(state="ok", text=shown)


def settle(measure: Callable[[int], Mapping[str, Verdict]]) -> list[Verdict]:
    """Measure until every value is decided, and return the verdicts.

    measure: takes the number of earlier measurements. A single measurement that is decided and not worse settles a
    value; `worse` must be confirmed. Values that noise leaves undecided after all measurements are `unsure`.
    """
    said: dict[str, Verdict] = {}
    worse: dict[str, int] = {}
    for i in range(MEASUREMENTS):
        for name, verdict in measure(i).items():
            if name in said and not _is_open(said[name], worse.get(name, 0)):
                continue
            said[name] = verdict
            worse[name] = worse.get(name, 0) + (verdict.state == "worse")
        if not any(_is_open(verdict, worse[name]) for name, verdict in said.items()):
            break
    return [
        Verdict(state="unsure", text=f"{verdict.text}, but in one measurement only")
        if verdict.state == "worse" and worse[name] < CONFIRMED
        else verdict
        for name, verdict in said.items()
    ]


def _is_open(verdict: Verdict, worse: int) -> bool:
    return verdict.state == "unsure" or (verdict.state == "worse" and worse < CONFIRMED)


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
