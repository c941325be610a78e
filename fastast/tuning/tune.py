"""Find the schedule that answers a question, and compare it with constant and decreasing schedules.

Shapes: `k` clips, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import PerBlock
from fastast.statistics import Estimate
from fastast.tuning.clips import TuningClips, spread
from fastast.tuning.explore import Counts, Explored, Explorer
from fastast.tuning.journal import Journal
from fastast.tuning.latency import LatencyTable, measure_table, probe_counts
from fastast.tuning.question import TuningQuestion
from fastast.tuning.scoring import Scorer, divergences, predict
from fastast.tuning.sensitivity import Sensitivity, probe_removals
from fastast.tuning.target import TuningError
from fastast.tuning.timing import ForwardTimes, engine_of, time_reductions

COMPARED = ("constant", "decreasing")
"""Families of schedules that an answer is compared with."""
PROBED = 200
"""Maximum number of clips for measuring how sensitive blocks are, spread evenly: divergences vary little."""
_ATTEMPTS = 4
"""Maximum number of searches for a schedule that measures fast enough; each new one corrects an optimistic forecast."""
_TIGHTER = 1.3
"""Maximum factor by which such a forecast shortens the time limit: disturbed rounds would shorten it too much."""
_TABLE_ROUNDS = 5
"""Rounds in which every latency probe is timed."""
_HALVINGS = 6
"""How often the range of times is halved in the search for an allowed loss."""
_FASTER = 0.97
"""Factor by which the time limit is shortened as long as the loss is allowed."""


@dataclass(frozen=True, kw_only=True)
class TunedRow:
    """A schedule as measured in the final check."""

    name: str
    """`unmerged`, `tuned`, or the family whose best schedule it is."""
    counts: Counts
    """Tokens that each block removes."""
    clips_per_second: Estimate
    """Measured throughput, with its interval over rounds."""
    speedup: Estimate
    """Speed-up over the unmerged model, in the same rounds."""
    metric: Estimate
    """Metric on held-out clips, with its interval over clips."""
    loss: Estimate
    """The unmerged model's metric minus this row's, paired."""
    gain: Estimate | None = None
    """The tuned schedule's metric minus this row's, paired; only for a family."""
    time: Estimate | None = None
    """The tuned schedule's time divided by this row's, in the same rounds; only for a family."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The answer to a question."""

    counts: Counts
    """Tokens that each block should remove."""
    rows: tuple[TunedRow, ...]
    """The unmerged model, the answer, and the fastest schedule of each family that is not faster than the answer."""
    meets: bool
    """Whether the measured speed (within 2 %), or the loss on the calibration clips, meets the target."""
    calibration: Explored
    """The answer as measured on the calibration clips."""
    forecast: float
    """Measured time of a batch divided by the forecast."""
    evaluated: int
    """Number of schedules measured on clips."""


class Tuner:
    """A model, clips and a device, and the measurements made with them."""

    def __init__(
        self,
        question: TuningQuestion,
        model: AudioSpectrogramTransformer,
        clips: TuningClips,
        held_out: TuningClips,
        scorer: Scorer,
        columns: Sequence[int],
        device: torch.device,
        journal: Journal,
        say: Callable[[str], None],
    ) -> None:
        """`model` is in evaluation mode, on `device`, without reduction."""
        self._question, self._model, self._scorer = question, model, scorer
        self._clips, self._held_out = clips, held_out
        self._columns, self._device, self._journal, self._say = columns, device, journal, say
        self._shape = model.geometry.encoder
        self._batch = clips.features[: question.batch_size]
        if len(self._batch) < question.batch_size:
            raise TuningError(
                f"tune: --batch-size is {question.batch_size}, but there are only {len(clips)} calibration clips; give "
                "a smaller one"
            )

    def run(self) -> Tuning:
        """Answer the question. Raises TuningError if it has no answer."""
        self._say(f"unmerged model on {len(self._clips)} clips ({self._clips.what})")
        self._reference = self._logits(self._clips, None)
        table = LatencyTable.from_dict(self._journal.get("latency", self._latency))
        unmerged = table.forward((self._shape.num_tokens,) * self._shape.depth)
        self._say(f"unmerged: {unmerged * 1e3:.4g} ms per batch of {self._question.batch_size}")
        explorer = Explorer(
            self._shape,
            self._question.method,
            table,
            self._sensitivity(),
            self._look,
            evaluations=self._question.evaluations,
            say=self._say,
        )
        find = self._at_speed if self._question.target.of_speed else self._within_loss
        return find(explorer, unmerged)

    def _latency(self) -> dict[str, object]:
        self._say("latency by block and tokens")
        method = self._question.method
        probes = probe_counts(self._shape, lambda n, block: method.limit(self._shape, n, block))
        engines = {counts: engine_of(self._model, self._reduction(counts), self._device) for counts in probes}
        batch = self._batch.to(self._device)
        return measure_table(self._shape, engines, batch, rounds=_TABLE_ROUNDS).to_dict()

    def _sensitivity(self) -> Sensitivity:
        """Measure the effect of each block's removals alone."""
        method, shape = self._question.method, self._shape
        some, places = probed_clips(self._clips)
        reference = self._reference[places]
        most = min(method.limit(shape, shape.num_tokens, block) for block in range(shape.depth))
        if most < 1:
            raise TuningError(
                f"tune: {method.method} cannot remove any of {shape.num_tokens} tokens; use another method"
            )
        removed = probe_removals(most)
        self._say(
            f"sensitivity of {shape.depth} blocks to removing {', '.join(map(str, removed))} tokens, {len(some)} clips"
        )

        def measure(block: int, r: int) -> float:
            counts = tuple(r if i == block else 0 for i in range(shape.depth))
            logits = self._logits(some, counts)
            return float(divergences(reference, logits, self._scorer.activation).mean())

        found = tuple(
            tuple(self._journal.get(f"block {block} removes {r}", partial(measure, block, r)) for r in removed)
            for block in range(shape.depth)
        )
        return Sensitivity(num_tokens=shape.num_tokens, removed=removed, divergence=found, weights=(1.0,) * shape.depth)

    def _look(self, counts: Counts) -> tuple[float, float]:
        """Return the divergence and metric of a schedule on the calibration clips."""

        def measure() -> list[float]:
            logits = self._logits(self._clips, counts)
            divergence = divergences(self._reference, logits, self._scorer.activation).mean()
            return [float(divergence), self._scorer.value(self._clips, logits)]

        divergence, metric = self._journal.get(_key("schedule", counts), measure)
        return divergence, metric

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
            times = self._time(f"finalists {attempt}", [found.counts for found in finalists])
            limit = self._question.target.seconds(times.median("unmerged"), self._question.batch_size)
            meets = [found for found in finalists if times.median(_name(found.counts)) <= limit]
            if meets:
                return self._answer(explorer, meets[0], times.median(_name(meets[0].counts)))
            if allowed <= explorer.fastest() * 1.001:
                break
            slower = min(times.median(_name(found.counts)) for found in finalists) / limit
            allowed = max(allowed / min(1.005 * slower, _TIGHTER), explorer.fastest() * 1.0001)
            self._say("they measure slower than forecast; looking for faster ones")
        fastest = min(finalists, key=lambda found: times.median(_name(found.counts)))
        return self._answer(explorer, fastest, times.median(_name(fastest.counts)), meets=False)

    def _within_loss(self, explorer: Explorer, unmerged: float) -> Tuning:
        """Find the fastest schedule whose loss on the calibration clips is allowed."""
        most = self._question.target.max_loss
        assert most is not None
        own = self._scorer.value(self._clips, self._reference)
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
                f"tune: no schedule with a loss of at most {most:g} {self._scorer.metric} was found; allow more, or "
                "calibrate on more clips"
            )
        times = self._time("finalists", [best.counts])
        return self._answer(explorer, best, times.median(_name(best.counts)))

    def _answer(self, explorer: Explorer, best: Explored, seconds: float, *, meets: bool = True) -> Tuning:
        """Check an answer against the unmerged model and its rivals, on held-out clips."""
        known = self._rivals(explorer, best, seconds)
        self._say("the answer and the best of each family: time in interleaved rounds, and held-out clips")
        schedules: dict[str, Counts | None] = {"unmerged": None, "tuned": best.counts, **known}
        times = self._time("answer", [counts for counts in schedules.values() if counts is not None])
        logits = {name: self._logits(self._held_out, counts) for name, counts in schedules.items()}
        if self._question.target.of_speed:
            limit = self._question.target.seconds(times.median("unmerged"), self._question.batch_size)
            meets = meets and times.median(_name(best.counts)) <= limit * 1.02
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
        times = self._time("families", [best.counts, *found.values()])
        for name, counts in found.items():
            brighter = times.ratio(_name(best.counts), _name(counts)).value
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
        arm, held, rival = _name(counts), self._held_out, name in COMPARED
        return TunedRow(
            name=name,
            counts=counts or (0,) * self._shape.depth,
            clips_per_second=times.clips_per_second(arm),
            speedup=times.ratio("unmerged", arm),
            metric=self._scorer.estimate(held, logits[name]),
            loss=self._scorer.difference(held, logits["unmerged"], logits[name]),
            gain=self._scorer.difference(held, logits["tuned"], logits[name]) if rival else None,
            time=times.ratio(_name(tuned), arm) if rival else None,
        )

    def _time(self, key: str, schedules: Sequence[Counts]) -> ForwardTimes:
        """Time the model without merging and under schedules, in the same rounds."""
        arms = {"unmerged": None} | {_name(counts): self._reduction(counts) for counts in schedules}

        def measure() -> dict[str, list[float]]:
            found = time_reductions(self._model, arms, self._batch, device=self._device, rounds=self._question.rounds)
            return {name: values.tolist() for name, values in found.seconds.items()}

        seconds = self._journal.get(f"times of {key}: {' '.join(arms)}", measure)
        return ForwardTimes(
            seconds={name: np.array(values) for name, values in seconds.items()},
            batch_size=self._question.batch_size,
        )

    def _reduction(self, counts: Counts) -> TokenReduction | None:
        return replace(self._question.method, schedule=PerBlock(counts)) if any(counts) else None

    def _logits(self, clips: TuningClips, counts: Counts | None) -> NDArray[np.float32]:
        reduction = None if counts is None else self._reduction(counts)
        return predict(self._model, clips, reduction, device=self._device, columns=self._columns)


def probed_clips(clips: TuningClips) -> tuple[TuningClips, list[int]]:
    """Return the clips for measuring how sensitive blocks are, and their indices.

    They are spread evenly, because data sets come sorted by class or day.
    """
    places = spread(len(clips), PROBED)
    ids = tuple(clips.ids[place] for place in places)
    return replace(clips, features=clips.features[places], labels=clips.labels[places], ids=ids), places


def _name(counts: Counts | None) -> str:
    return "unmerged" if counts is None else ",".join(map(str, counts))


def _key(what: str, counts: Counts) -> str:
    return f"{what} {_name(counts)}"
