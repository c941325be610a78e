"""The clips that a tuning measures on, and what it says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastast.hosts import reduce
from fastast.reduction import TokenReduction
from fastast.tuning.measuring.clips import TuningClips, check_positives, spread, two_halves
from fastast.tuning.measuring.journal import Journal
from fastast.tuning.measuring.measurements import Measurements
from fastast.tuning.measuring.scoring import Scorer, divergences
from fastast.tuning.measuring.timing import ForwardTimes, time_rounds
from fastast.tuning.question import TuningQuestion
from fastast.tuning.target import Target, TuningError


def clips(positives: list[int], count: int = 10) -> TuningClips:
    labels = np.array([[i < some for some in positives] for i in range(count)], dtype=np.uint8)
    names = tuple(str(i) for i in range(count))
    return TuningClips(what="half of val", features=torch.zeros(count, 1, 1), labels=labels, ids=names, skipped=())


def test_too_few_positives_are_refused_by_class() -> None:
    check_positives(clips([5, 6]), ("Music", "Bell"), 5)
    message = r"half of val: 1 of 2 classes have fewer than 5 positive clips among 10: Bell \(2\).*--min-positives 2"
    with pytest.raises(TuningError, match=message):
        check_positives(clips([6, 2]), ("Music", "Bell"), 5)


def test_halves_share_no_clip_and_reach_from_end_to_end() -> None:
    mine, others = two_halves(1000, 100)
    assert len(mine) == len(others) == 50
    assert not set(mine) & set(others)
    assert mine[0] == 0
    assert others[-1] == 999
    assert spread(7, 100) == list(range(7))


def test_divergence_is_that_of_kullback_and_leibler() -> None:
    p, q = np.array([[0.3, -1.0], [40.0, 0.0]]), np.array([[0.1, 2.0], [-40.0, 0.0]])
    a, b = 1 / (1 + np.exp(-p)), 1 / (1 + np.exp(-q))
    by_hand = a[0] * np.log(a[0] / b[0]) + (1 - a[0]) * np.log((1 - a[0]) / (1 - b[0]))
    found = divergences(p, q, "sigmoid")
    assert found[0] == pytest.approx(by_hand.sum())
    assert found[1] == pytest.approx(40.0)  # log(1 / exp(-40)), and no infinity
    e, f = np.exp(p[0]) / np.exp(p[0]).sum(), np.exp(q[0]) / np.exp(q[0]).sum()
    assert divergences(p, q, "softmax")[0] == pytest.approx((e * np.log(e / f)).sum())
    assert divergences(p, p, "sigmoid") == pytest.approx([0.0, 0.0])


def test_sensitivity_is_that_of_clips_from_end_to_end(
    small_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data sets are sorted: here the first clips are silent, and nothing moves their answers."""
    monkeypatch.setattr("fastast.tuning.measuring.measurements.PROBED", 4)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8, 176, 48, generator=generator) * torch.arange(8.0).gt(3)[:, None, None]
    clips = TuningClips(
        what="half", features=features, labels=np.eye(8, 5, dtype=np.uint8), ids=tuple("abcdefgh"), skipped=()
    )
    question = TuningQuestion(
        model="m", data="d", target=Target(max_loss=0.1), method=TokenReduction(schedule="constant:0"), batch_size=2
    )
    journal = Journal(tmp_path / "a.journal", {})
    scorer = Scorer(metric="mAP", activation="sigmoid")
    rest = (scorer, range(5), torch.device("cpu"), journal, print)
    found = Measurements(question, small_model, clips, clips, *rest).sensitivity()
    journal.close()
    picked = features[[0, 2, 5, 7]]  # four of eight, by hand
    r = found.removed[-1]
    with torch.no_grad():
        p = small_model(picked).double().sigmoid()
        with reduce(small_model, TokenReduction(schedule=f"list:{r},0,0")):
            q = small_model(picked).double().sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(1).mean()
    assert float(expected) > 1e-4
    assert found.divergence[0][-1] == pytest.approx(float(expected), rel=1e-3)


class CountingClock:
    """A clock whose calls take what they say."""

    name = "counting"
    now = staticmethod(float)

    def measure(self, call: Any, iterations: int) -> list[float]:
        return [call() for _ in range(iterations)]


def test_rounds_interleave_and_start_with_another_arm_each() -> None:
    order: list[str] = []

    def arm(name: str, seconds: float) -> Any:
        return lambda: order.append(name) or seconds

    found = time_rounds({"a": arm("a", 2.0), "b": arm("b", 1.0)}, CountingClock(), rounds=3)  # type: ignore[arg-type]
    assert "".join(order[4:]) == "abbaab"
    assert found["a"].tolist() == [2.0] * 3
    times = ForwardTimes(seconds=found, batch_size=8)
    assert times.ratio("a", "b").value == 2.0
    assert times.clips_per_second("a").value == 4.0
