"""Find the schedule that answers a question, and compare it with constant and decreasing schedules.

Shapes: `k` clips, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fastast.tuning.explore import Explored, Explorer
from fastast.tuning.measuring.measurements import Measurements
from fastast.tuning.measuring.timing import Counts, ForwardTimes, arm_name
from fastast.tuning.question import TuningQuestion
from fastast.tuning.result import TunedRow, Tuning
from fastast.tuning.target import TuningError

COMPARED = ("constant", "decreasing")
"""Families of schedules that an answer is compared with."""
_ATTEMPTS = 4
"""Maximum number of searches for a schedule that measures fast enough; each new one corrects an optimistic forecast."""
_TIGHTER = 1.3
"""Maximum factor by which such a forecast shortens the time limit: disturbed rounds would shorten it too much."""
_HALVINGS = 6
"""How often the range of times is halved in the search for an allowed loss."""
_FASTER = 0.97
"""Factor by which the time limit is shortened as long as the loss is allowed."""


class Tuner:
    """A question, and the search for its answer among what is measured."""

    def __init__(self, question: TuningQuestion, measured: Measurements, say: Callable[[str], None]) -> None:
        """`measured` measures the question's model."""
        self._question, self._measured, self._say = question, measured, say

    def run(self) -> Tuning:
        """Answer the question. Raises TuningError if it has no answer."""
        measured, shape = self._measured, self._measured.shape
        table = measured.latency()
        unmerged = table.forward((shape.num_tokens,) * shape.depth)
        self._say(f"unmerged: {unmerged * 1e3:.4g} ms per batch of {self._question.batch_size}")
        explorer = Explorer(
            shape,
            self._question.method,
            table,
            measured.sensitivity(),
            measured.look,
            evaluations=self._question.evaluations,
            say=self._say,
        )
        find = self._at_speed if self._question.target.of_speed else self._within_loss
        return find(explorer, unmerged)

    def _at_speed(self, explorer: Explorer, unmerged: float) -> Tuning:
        """Find the best schedule whose measured time meets the target, or else the fastest of the last finalists."""
        wanted = self._question.target.seconds(unmerged, self._question.batch_size)
        if wanted >= unmerged:
            raise TuningError(
                f"tune: the unmerged model takes {unmerged * 1e3:.4g} ms per batch, which is "
                f"{self._question.batch_size / unmerged:.4g} clips per second already; nothing needs to be merged"
            )
        allowed = wanted
        for attempt in range(_ATTEMPTS):
            self._say(f"schedules forecast to take at most {allowed * 1e3:.4g} ms")
            finalists = explorer.within(allowed)[:2]
            times = self._measured.times(f"finalists {attempt}", [found.counts for found in finalists])
            limit = self._question.target.seconds(times.median("unmerged"), self._question.batch_size)
            meets = [found for found in finalists if times.median(arm_name(found.counts)) <= limit]
            if meets:
                return self._answer(explorer, meets[0], times.median(arm_name(meets[0].counts)))
            if allowed <= explorer.fastest() * 1.001:
                break
            slower = min(times.median(arm_name(found.counts)) for found in finalists) / limit
            allowed = max(allowed / min(1.005 * slower, _TIGHTER), explorer.fastest() * 1.0001)
            self._say("they measure slower than forecast; looking for faster ones")
        fastest = min(finalists, key=lambda found: times.median(arm_name(found.counts)))
        return self._answer(explorer, fastest, times.median(arm_name(fastest.counts)), meets=False)

    def _within_loss(self, explorer: Explorer, unmerged: float) -> Tuning:
        """Find the fastest schedule whose loss on the calibration clips is allowed."""
        most = self._question.target.max_loss
        assert most is not None
        measured = self._measured
        own = measured.scorer.value(measured.clips, measured.reference)
        low, high, best = explorer.fastest(), unmerged, None

        def first_allowed(found: Sequence[Explored]) -> Explored | None:
            return next((one for one in found[:3] if own - one.metric <= most), None)

        for _ in range(_HALVINGS):
            middle = float(np.sqrt(low * high))
            allowed = first_allowed(explorer.within(middle, thorough=False))
            low, high = (low, middle) if allowed else (middle, high)
            best = allowed or best
        seconds = high
        while (allowed := first_allowed(explorer.within(seconds))) is not None:
            best, seconds = allowed, min(seconds, allowed.seconds) * _FASTER
            if seconds < explorer.fastest():
                break
        if best is None:
            raise TuningError(
                f"tune: no schedule with a loss of at most {most:g} {measured.scorer.metric} was found; allow more, or "
                "calibrate on more clips"
            )
        times = measured.times("finalists", [best.counts])
        return self._answer(explorer, best, times.median(arm_name(best.counts)))

    def _answer(self, explorer: Explorer, best: Explored, seconds: float, *, meets: bool = True) -> Tuning:
        """Check an answer against the unmerged model and its rivals, on held-out clips."""
        measured = self._measured
        known = self._rivals(explorer, best, seconds)
        self._say("the answer and the best of each family: time in interleaved rounds, and held-out clips")
        schedules: dict[str, Counts | None] = {"unmerged": None, "tuned": best.counts, **known}
        times = measured.times("answer", [counts for counts in schedules.values() if counts is not None])
        logits = {name: measured.logits(measured.held_out, counts) for name, counts in schedules.items()}
        if self._question.target.of_speed:
            limit = self._question.target.seconds(times.median("unmerged"), self._question.batch_size)
            meets = meets and times.median(arm_name(best.counts)) <= limit * 1.02
        rows = tuple(self._row(name, counts, best.counts, times, logits) for name, counts in schedules.items())
        return Tuning(
            counts=best.counts,
            rows=rows,
            meets=meets,
            calibration=best,
            forecast=seconds / best.seconds,
            evaluated=explorer.evaluated,
        )

    def _rivals(self, explorer: Explorer, best: Explored, seconds: float) -> dict[str, Counts]:
        """Return each family's fastest schedule that is not faster than the answer, by the measured times of both."""
        found = {name: counts for name in COMPARED if (counts := explorer.slower(name, best.seconds)) is not None}
        times = self._measured.times("families", [best.counts, *found.values()])
        for name, counts in found.items():
            brighter = times.ratio(arm_name(best.counts), arm_name(counts)).value
            found[name] = explorer.slower(name, explorer.seconds(counts) * brighter) or counts
        return found

    def _row(
        self,
        name: str,
        counts: Counts | None,
        tuned: Counts,
        times: ForwardTimes,
        logits: dict[str, NDArray[np.float32]],
    ) -> TunedRow:
        measured, arm, rival = self._measured, arm_name(counts), name in COMPARED
        scorer, held = measured.scorer, measured.held_out
        return TunedRow(
            name=name,
            counts=counts or (0,) * measured.shape.depth,
            clips_per_second=times.clips_per_second(arm),
            speedup=times.ratio("unmerged", arm),
            metric=scorer.estimate(held, logits[name]),
            loss=scorer.difference(held, logits["unmerged"], logits[name]),
            gain=scorer.difference(held, logits["tuned"], logits[name]) if rival else None,
            time=times.ratio(arm_name(tuned), arm) if rival else None,
        )
