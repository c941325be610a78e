"""Gates: what must hold for any measurement. If one fails, the record is `implausible`.

A gate compares a measurement with something independent of it: a count, a bound, another metric of the same scores.
Shapes: `n` clips, `c` classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measure.conditions import Conditions
from bench.measure.machine import Facts
from bench.measure.nvml import SLOWDOWN, name_reasons
from fastast.statistics import Estimate

QUOTA_SHARE = 0.01
"""Largest share of a measurement for which a CPU quota may throttle the process."""
IDENTITY_TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2, "int8": 0.25}
"""By dtype, the largest difference from the unmerged logits, relative to the largest logit, that rounding explains."""
FRONT_END_TOLERANCE = IDENTITY_TOLERANCE | {"float32": 1e-3}
"""The same for logits from waveforms, where the logarithm of a quiet band's energy amplifies rounding."""
AUC_TOLERANCE = 1e-6
"""How far rounding may push an average precision beyond its bounds."""


class Gate(Facts):
    """The verdict of one gate."""

    name: str
    passed: bool
    value: float | None
    """Measured value in the gate's own unit; None if it is not a number."""
    limit: float | None
    """Largest value that passes."""
    message: str
    """What was compared and, if it failed, what is wrong."""


def gate(name: str, value: float, limit: float, compared: str) -> Gate:
    """Return a gate that passes if `value` is at most `limit`; NaN fails."""
    value, passed = float(value), bool(value <= limit)
    verdict = "at most" if passed else "MORE THAN"
    return Gate(
        name=name, passed=passed, value=value, limit=limit, message=f"{compared}: {value:.4g}, {verdict} {limit:.4g}"
    )


def tokens_as_planned(planned: Sequence[int], measured: Sequence[int]) -> Gate:
    """Compare the tokens leaving each block of a real forward pass with the schedule."""
    passed = tuple(planned) == tuple(measured)
    said = "as planned" if passed else f"planned {list(planned)}, measured {list(measured)}"
    return Gate(name="tokens", passed=passed, value=None, limit=None, message=f"tokens that left each block: {said}")


def no_fewer_tokens(planned: Sequence[int], measured: Sequence[int]) -> Gate:
    """Compare the tokens of a real forward pass under a threshold with the schedule, which is their lower bound."""
    passed = len(planned) == len(measured) and all(m >= p for p, m in zip(planned, measured, strict=True))
    said = "no fewer than planned" if passed else f"planned at least {list(planned)}, measured {list(measured)}"
    return Gate(name="tokens", passed=passed, value=None, limit=None, message=f"tokens that left each block: {said}")


def macs_as_counted(formula: int, counted: int) -> Gate:
    """Compare the multiply-accumulates of the formula with PyTorch's count, operator by operator."""
    compared = f"multiply-accumulates, formula {formula} against counted {counted}"
    if formula != counted:
        compared += " (the macs= that a method is registered with counts every matrix product of its choice)"
    return gate("macs", abs(formula - counted), 0, compared)


def nothing_merged_is_unmerged(difference: float, dtype: str) -> Gate:
    """Compare the logits of the reduction at r = 0 with the unmerged model's, relative to the largest logit."""
    return gate("identity", difference, IDENTITY_TOLERANCE[dtype], "largest difference of logits at r = 0 to unmerged")


def products_are_int8(found: int, expected: int) -> Gate:
    """Compare the matrix products that ran in 8 bits with those quantised: a runtime may fall back to float32."""
    return gate("int8", abs(found - expected), 0, f"products in 8 bits, {found} of {expected}; difference")


def front_end_is_the_models(difference: float, dtype: str) -> Gate:
    """Compare an engine's logits from waveforms with those from filterbanks, relative to the largest logit."""
    limit = FRONT_END_TOLERANCE[dtype]
    return gate("front_end", difference, limit, "largest difference of logits from waveforms to those of filterbanks")


def within_mac_bound(speedup: Estimate, macs_ratio: float, tolerance: float) -> Gate:
    """Compare the lower end of a speed-up's interval with the bound set by the saved multiply-accumulates.

    Uncounted work (softmax, norms, memory traffic) may shrink faster than counted work: hence the tolerance.
    """
    limit = macs_ratio * (1 + tolerance)
    return gate("mac_bound", speedup.low, limit, f"speed-up over unmerged, MAC bound {macs_ratio:.4g}")


def within_slice_bound(share: Estimate, tolerance: float) -> Gate:
    """Compare the lower end of the speed-up over the slice oracle with 1: no method is faster than slicing."""
    return gate("slice_bound", share.low, 1 + tolerance, "speed-up over the slice oracle")


def within_model_alone(share: Estimate, tolerance: float) -> Gate:
    """Compare the lower end of the speed-up over the model alone with 1: a front end cannot take negative time."""
    return gate("model_alone_bound", share.low, 1 + tolerance, "speed-up over the model without its front end")


def not_looked_at(name: str, reason: str) -> Gate:
    """Return a gate that passes unchecked because its bound does not apply here."""
    return Gate(name=name, passed=True, value=None, limit=None, message=f"not looked at: {reason}")


def clock_held(conditions: Conditions) -> Gate:
    """Check for a GPU slowed by heat or power, a CPU core slowed by heat, and a CPU quota."""
    found = []
    reasons = conditions.gpu_throttle_reasons or 0
    if reasons & SLOWDOWN:
        found.append(f"the GPU was slowed: {name_reasons(reasons)}")
    before, after = conditions.before, conditions.after
    if before and after:
        events = _grown(before.cpu_thermal_events, after.cpu_thermal_events)
        if events:
            found.append(f"the CPU was slowed for its heat {events:.0f} times")
        waited = _grown(before.cpu_quota_s, after.cpu_quota_s)
        if conditions.seconds and waited and waited > QUOTA_SHARE * conditions.seconds:
            found.append(f"a CPU quota kept the container waiting for {waited:.2f} of {conditions.seconds:.2f} s")
    return Gate(
        name="clock",
        passed=not found,
        value=None,
        limit=None,
        message="; ".join(found) or "no throttling seen" + (": power cap only" if reasons & 4 else ""),
    )


def precision_fits_area(
    precision: NDArray[np.float64], area: NDArray[np.float64], labels: NDArray[Any], scores: NDArray[Any]
) -> Gate:
    """Compare every class's average precision with the bounds set by its area under the ROC curve.

    precision, area: (c,); labels, scores: (n, c). Two metrics of the same scores cannot contradict each other; if they
    do, labels, scores or classes were mixed up. Classes without positives or without negatives are left out.
    """
    worst, where = -math.inf, -1
    for i, (ap, auc) in enumerate(zip(precision, area, strict=True)):
        positives, negatives = int(labels[:, i].sum()), int((1 - labels[:, i]).sum())
        if positives and negatives:
            pairs, tied = _ties(labels[:, i], scores[:, i])
            half = pairs / (2 * positives * negatives)  # AUC counts a tied pair as half
            least, _ = precision_bounds(auc - half, positives, negatives)
            _, most = precision_bounds(auc + half, positives, negatives)
            # scikit-learn gives all tied positives the precision after the last of them.
            excess = max(least - ap, ap - most - tied / positives)
            worst, where = max((worst, where), (excess, i))
    if where < 0:
        return Gate(name="auc", passed=True, value=None, limit=None, message="no class has positives and negatives")
    compared = f"average precision beyond the bounds of its AUC, most in class {where}"
    return gate("auc", worst, AUC_TOLERANCE, compared)


def precision_bounds(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """Return bounds on the average precision of untied scores with this AUC.

    (1 - AUC) times the number of pairs is the number of negatives ranked above positives, summed over positives; the
    precision at the i-th positive is i / (i + negatives above it). The lower bound follows from Cauchy's inequality.
    The upper bound ranks all negatives above as many of the last positives as the sum allows, and the remainder where
    it costs least.
    """
    ranks = np.arange(1, positives + 1)
    swapped = min(max((1 - area) * positives * negatives, 0.0), float(positives * negatives))
    least = float(np.sqrt(ranks).sum() ** 2 / (ranks.sum() + swapped) / positives)
    full = min(int(swapped // negatives), positives - 1)
    rest = swapped - full * negatives
    last = ranks[positives - full - 1 :]  # `full` of these have all negatives above them, one has the remainder
    cost = negatives / (last + negatives)
    lost = cost.sum() + (rest / (last + rest) - cost).min()
    return least, float(1 - lost / positives)


def _ties(labels: NDArray[Any], scores: NDArray[Any]) -> tuple[int, int]:
    """Return the number of tied pairs of a positive and a negative, and of positives tied with any clip."""
    _, group = np.unique(scores, return_inverse=True)
    positives, everything = np.bincount(group, weights=labels), np.bincount(group)
    negatives = everything - positives
    return int((positives * negatives).sum()), int(positives[everything > 1].sum())


def _grown(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
