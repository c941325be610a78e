"""Measure how fast the two sides of an evaluation are, reading and model, and which of them limits it.

Shapes: none; everything is counted in clips per second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Clips per second of an evaluation, over all its processes together."""

    reading: float
    """Clips per second that the readers can deliver: the rate of one, times their number."""
    readers: int
    """Number of processes that read: the workers or, without workers, the processes that run the model."""
    filterbank: float
    """Clips per second that the front end computes from samples, or takes from a cache."""
    model: dict[str, float]
    """Clips per second of the model by schedule; the empty text stands for the unmerged model."""

    def limits(self, schedule: str) -> str:
        """Return the slower side under a schedule: `reading`, or `model` (with its front end)."""
        return "reading" if self.reading < 1 / (1 / self.filterbank + 1 / self.model[schedule]) else "model"

    def as_dict(self) -> dict[str, Any]:
        """Return all rates, and the slower side by schedule, as plain values."""
        named = {name or "unmerged": rate for name, rate in self.model.items()}
        limits = {name or "unmerged": self.limits(name) for name in self.model}
        return {
            "reading": self.reading,
            "readers": self.readers,
            "reading_per_core": self.reading / self.readers,
            "filterbank": self.filterbank,
            "model": named,
            "limits": limits,
        }


@dataclass
class Stopwatch:
    """Time that a process spends on each part, and the number of clips it covers.

    The first batch, in which kernels are chosen and buffers allocated, counts only if there is no second one.
    """

    device: torch.device
    clips: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    first: tuple[int, dict[str, float]] | None = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the duration of the block to a part."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a part."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def end_batch(self, clips: int) -> None:
        """Count the clips of a finished batch."""
        if self.first is None:
            self.first, self.clips, self.seconds = (clips, self.seconds), 0, {}
        else:
            self.clips += clips

    def result(self) -> tuple[int, dict[str, float]]:
        """Return the number of clips, and the seconds by part."""
        return (self.clips, self.seconds) if self.clips or self.first is None else self.first


def rates_of(shares: list[tuple[int, dict[str, float]]], schedules: list[str], *, workers: int) -> Rates:
    """Return the rates from the processes' stopwatch results; `workers` is the number of workers of each process."""
    shares = [share for share in shares if share[0]]

    def rate(part: str) -> float:
        return sum(clips / max(seconds[part], 1e-9) for clips, seconds in shares)

    return Rates(
        reading=rate("reading") * max(1, workers),
        readers=len(shares) * max(1, workers),
        filterbank=rate("filterbank"),
        model={name: rate(f"model {name}") for name in schedules},
    )
