"""Time finalists against each other: whole forward passes of one batch in interleaved rounds.

Shapes: `b` batch, `f` frames, `m` mel bins, `k` rounds.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastast.engine import Engine, EngineFallbackWarning, compile
from fastast.reduction import TokenReduction
from fastast.statistics import Estimate, ratio_of_medians
from fastast.system.clocks import Clock, CudaClock, WallClock, rotated

Floats = NDArray[np.float64]
Counts = tuple[int, ...]
"""Tokens that each block removes."""
WARM_UP = 2
"""Calls of each arm before the rounds that count."""


@dataclass(frozen=True, kw_only=True)
class ForwardTimes:
    """Times of several arms in the same rounds."""

    seconds: dict[str, Floats]
    """Seconds per batch of each arm, (k,)."""
    batch_size: int
    """Clips per batch."""

    def median(self, arm: str) -> float:
        """Return an arm's median seconds per batch."""
        return float(np.median(self.seconds[arm]))

    def clips_per_second(self, arm: str) -> Estimate:
        """Return an arm's throughput with its interval over rounds."""
        values = self.seconds[arm]
        return ratio_of_medians(np.full_like(values, self.batch_size), values)

    def ratio(self, arm: str, other: str) -> Estimate:
        """Return the time of an arm divided by that of another, with its interval over paired rounds."""
        return ratio_of_medians(self.seconds[arm], self.seconds[other])


def time_rounds(
    arms: Mapping[str, Callable[[], object]], clock: Clock, *, rounds: int, round_seconds: float = 0.02
) -> dict[str, Floats]:
    """Time every arm once per round, in rotating order, so that drift affects all alike; return (k,) seconds of each.

    An arm is repeated within a round for about `round_seconds`; its time in the round is the median of the repetitions.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        warm = {name: clock.measure(call, WARM_UP) for name, call in arms.items()}
        repeats = {name: max(1, round(round_seconds / max(min(found), 1e-9))) for name, found in warm.items()}
        found: dict[str, list[float]] = {name: [] for name in arms}
        for number in range(rounds):
            for name in rotated(list(arms), number):
                found[name].append(float(np.median(clock.measure(arms[name], repeats[name]))))
    finally:
        if enabled:
            gc.enable()
    return {name: np.array(values) for name, values in found.items()}


def time_reductions(
    model: nn.Module,
    reductions: Mapping[str, TokenReduction | None],
    fbank: Tensor,
    *,
    device: torch.device,
    rounds: int,
) -> ForwardTimes:
    """Time the model under every reduction, as `fastast.compile` runs it on the device, on a batch (b, f, m)."""
    engines = {name: engine_of(model, reduction, device, len(fbank)) for name, reduction in reductions.items()}
    clips = fbank.to(device)
    arms = {name: (lambda engine=engine: engine(clips)) for name, engine in engines.items()}
    clock = CudaClock() if device.type == "cuda" else WallClock()
    return ForwardTimes(seconds=time_rounds(arms, clock, rounds=rounds), batch_size=len(fbank))


def engine_of(
    model: nn.Module, reduction: TokenReduction | None, device: torch.device, batch_size: int | None = None
) -> Engine:
    """Compile a model for a device, without the warning that a CPU has no kernels, which is no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EngineFallbackWarning)
        return compile(model, reduction, device=device, batch_size=batch_size)


def arm_name(counts: Counts | None) -> str:
    """Return the name of a schedule's arm; None is the model without merging."""
    return "unmerged" if counts is None else ",".join(map(str, counts))
