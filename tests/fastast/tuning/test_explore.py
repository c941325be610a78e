"""The explorer on a model that is made up: its true loss is known, and all schedules can be tried."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from fastast.encoder import EncoderShape
from fastast.reduction import TokenReduction
from fastast.tuning.explore import Counts, Explorer
from fastast.tuning.measuring.latency import Curve, LatencyTable
from fastast.tuning.measuring.sensitivity import Sensitivity
from fastast.tuning.target import TuningError

SHAPE = EncoderShape(embed_dim=8, depth=3, num_heads=2, mlp_dim=16, num_prefix_tokens=2, grid=(4, 6))  # 26 tokens
TRUE_WEIGHTS = (1.0, 6.0, 0.5)
"""The middle block is sensitive, which schedules of one block do not tell."""


def curve(per_token: float) -> Curve:
    return Curve(tokens=(1, 100), seconds=(per_token, 100 * per_token))


TABLE = LatencyTable(
    num_tokens=26, depth=3, whole=26.0, outside=3.0,
    attention=curve(1.0), choosing=curve(0.1), rest=curve(2.0), last=curve(3.0),
)  # fmt: skip


def sensitivity(weights: Counts | tuple[float, ...] = (1.0, 1.0, 1.0)) -> Sensitivity:
    removed = (3, 6, 12)
    each = tuple(tuple(1e-3 * r**1.5 for r in removed) for _ in range(3))
    return Sensitivity(num_tokens=26, removed=removed, divergence=each, weights=tuple(map(float, weights)))


def tokens_of(counts: Counts) -> Counts:
    return tuple(int(26 - removed) for removed in np.cumsum(counts))


def true_loss(counts: Counts) -> float:
    return sensitivity(TRUE_WEIGHTS).schedule(tokens_of(counts))


def explorer(evaluations: int = 60) -> tuple[Explorer, list[Counts]]:
    asked: list[Counts] = []

    def measure(counts: Counts) -> tuple[float, float]:
        asked.append(counts)
        return true_loss(counts), 0.5

    method = TokenReduction(schedule="constant:0")  # type: ignore[arg-type]
    return Explorer(SHAPE, method, TABLE, sensitivity(), measure, evaluations=evaluations), asked


def possible() -> list[Counts]:
    """Every schedule, by the rule that pairing removes at most half of the free tokens."""
    found = []
    for counts in itertools.product(range(13), repeat=3):
        entering = (26, *tokens_of(counts)[:-1])
        if all(r <= (n - 2) // 2 for r, n in zip(counts, entering, strict=True)):
            found.append(counts)
    return found


def seconds(counts: Counts) -> float:
    return TABLE.forward(tokens_of(counts))


@pytest.mark.parametrize("share", [0.9, 0.8, 0.7, 0.6, 0.55, 0.5])
def test_the_best_of_all_schedules_is_found_from_a_few(share: float) -> None:
    allowed = share * seconds((0, 0, 0))
    truly_best = min(true_loss(counts) for counts in possible() if seconds(counts) <= allowed)
    explored, asked = explorer()
    best = explored.within(allowed)[0]
    assert seconds(best.counts) <= allowed
    assert best.divergence == pytest.approx(true_loss(best.counts))
    assert best.divergence == pytest.approx(truly_best)
    assert len(asked) <= 60 < len(possible())


def test_evaluations_are_as_many_as_allowed_and_none_twice() -> None:
    explored, asked = explorer(evaluations=9)
    explored.within(0.6 * seconds((0, 0, 0)))
    assert len(asked) == len(set(asked)) <= 9
    assert explored.evaluated == len(asked)


def test_the_answer_is_no_worse_than_constant_and_decreasing() -> None:
    allowed = 0.85 * seconds((0, 0, 0))
    explored, _ = explorer(evaluations=6)
    best = explored.within(allowed)[0]
    for name in ("constant", "decreasing"):
        counts = explored.family(name, allowed)
        assert counts is not None
        assert best.divergence <= true_loss(counts)


def test_families_stand_on_both_sides_of_a_time() -> None:
    explored, _ = explorer()
    allowed = 0.85 * seconds((0, 0, 0))
    within, beyond = explored.family("constant", allowed), explored.slower("constant", allowed)
    assert within is not None
    assert beyond is not None
    assert within[0] == beyond[0] + 1
    assert seconds(within) <= allowed <= seconds(beyond)


def test_a_time_that_no_schedule_reaches_is_refused_with_the_fastest() -> None:
    explored, _ = explorer()
    fastest = min(map(seconds, possible()))
    assert explored.fastest() == pytest.approx(fastest)
    with pytest.raises(TuningError, match=re.escape(f"the fastest takes {fastest * 1e3:.4g} ms")):
        explored.within(0.99 * fastest)
