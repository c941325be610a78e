"""What is measured of one model for one question, each measurement once: what a journal has is not repeated.

Shapes: `k` clips, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray

from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import PerBlock
from fastast.tuning.measuring.block_times import measure_table, probe_counts
from fastast.tuning.measuring.clips import TuningClips, spread
from fastast.tuning.measuring.journal import Journal
from fastast.tuning.measuring.latency import LatencyTable
from fastast.tuning.measuring.scoring import Scorer, divergences, predict
from fastast.tuning.measuring.sensitivity import Sensitivity, probe_removals
from fastast.tuning.measuring.timing import Counts, ForwardTimes, arm_name, engine_of, time_reductions
from fastast.tuning.question import TuningQuestion
from fastast.tuning.target import TuningError

PROBED = 200
"""Maximum number of clips for measuring how sensitive blocks are, spread evenly: divergences vary little."""
_TABLE_ROUNDS = 5
"""Rounds in which every latency probe is timed."""


class Measurements:
    """A model, clips and a device, and what is measured with them."""

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
        self.clips, self.held_out, self.scorer, self.shape = clips, held_out, scorer, model.geometry.encoder
        self._question, self._model, self._columns = question, model, columns
        self._device, self._journal, self._say = device, journal, say
        self._batch = clips.features[: question.batch_size]
        if len(self._batch) < question.batch_size:
            raise TuningError(
                f"tune: --batch-size is {question.batch_size}, but there are only {len(clips)} calibration clips; give "
                "a smaller one"
            )

    @cached_property
    def reference(self) -> NDArray[np.float32]:
        """Logits (k, c) of the model without merging on the calibration clips."""
        self._say(f"unmerged model on {len(self.clips)} clips ({self.clips.what})")
        return self.logits(self.clips, None)

    def latency(self) -> LatencyTable:
        """Time the blocks by the numbers of tokens that enter and leave them."""
        return LatencyTable.from_dict(self._journal.get("latency", self._latency))

    def sensitivity(self) -> Sensitivity:
        """Measure the effect of each block's removals alone."""
        method, shape = self._question.method, self.shape
        some, places = probed_clips(self.clips)
        reference = self.reference[places]
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
            logits = self.logits(some, counts)
            return float(divergences(reference, logits, self.scorer.activation).mean())

        found = tuple(
            tuple(self._journal.get(f"block {block} removes {r}", partial(measure, block, r)) for r in removed)
            for block in range(shape.depth)
        )
        return Sensitivity(num_tokens=shape.num_tokens, removed=removed, divergence=found, weights=(1.0,) * shape.depth)

    def look(self, counts: Counts) -> tuple[float, float]:
        """Return the divergence and metric of a schedule on the calibration clips."""

        def measure() -> list[float]:
            logits = self.logits(self.clips, counts)
            divergence = divergences(self.reference, logits, self.scorer.activation).mean()
            return [float(divergence), self.scorer.value(self.clips, logits)]

        divergence, metric = self._journal.get(f"schedule {arm_name(counts)}", measure)
        return divergence, metric

    def times(self, key: str, schedules: Sequence[Counts]) -> ForwardTimes:
        """Time the model without merging and under schedules, in the same rounds."""
        arms = {"unmerged": None} | {arm_name(counts): self._reduction(counts) for counts in schedules}

        def measure() -> dict[str, list[float]]:
            found = time_reductions(self._model, arms, self._batch, device=self._device, rounds=self._question.rounds)
            return {name: values.tolist() for name, values in found.seconds.items()}

        seconds = self._journal.get(f"times of {key}: {' '.join(arms)}", measure)
        return ForwardTimes(
            seconds={name: np.array(values) for name, values in seconds.items()},
            batch_size=self._question.batch_size,
        )

    def logits(self, clips: TuningClips, counts: Counts | None) -> NDArray[np.float32]:
        """Return a schedule's logits (k, c) on clips, or those without merging."""
        reduction = None if counts is None else self._reduction(counts)
        return predict(self._model, clips, reduction, device=self._device, columns=self._columns)

    def _latency(self) -> dict[str, object]:
        self._say("latency by block and tokens")
        method = self._question.method
        probes = probe_counts(self.shape, lambda n, block: method.limit(self.shape, n, block))
        engines = {counts: engine_of(self._model, self._reduction(counts), self._device) for counts in probes}
        batch = self._batch.to(self._device)
        return measure_table(self.shape, engines, batch, rounds=_TABLE_ROUNDS).to_dict()

    def _reduction(self, counts: Counts) -> TokenReduction | None:
        return replace(self._question.method, schedule=PerBlock(counts)) if any(counts) else None


def probed_clips(clips: TuningClips) -> tuple[TuningClips, list[int]]:
    """Return the clips for measuring how sensitive blocks are, and their indices.

    They are spread evenly, because data sets come sorted by class or day.
    """
    places = spread(len(clips), PROBED)
    ids = tuple(clips.ids[place] for place in places)
    return replace(clips, features=clips.features[places], labels=clips.labels[places], ids=ids), places
