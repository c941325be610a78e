"""How fast both sides of an evaluation are, reading and model, and which of them it waits for.

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
    """Clips per second of an evaluation, of all its processes together."""

    reading: float
    """That the readers can hand over: the rate of one, times their number."""
    readers: int
    """Processes that read: the workers, or those that run the model where there are none."""
    filterbank: float
    """That the front end makes of samples, or takes over from a cache."""
    model: dict[str, float]
    """Of the model, by schedule; the empty text is the model unmerged."""

    def limits(self, schedule: str) -> str:
        """Return the side that is slower under a schedule: `reading`, or `model` with its front end."""
        return "reading" if self.reading < 1 / (1 / self.filterbank + 1 / self.model[schedule]) else "model"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
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
    """Seconds of a process by part, and the clips that they took.

    The first batch counts only where there is no second: in it kernels are chosen and buffers made.
    """

    device: torch.device
    clips: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    first: tuple[int, dict[str, float]] | None = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what the block takes to a part."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a part."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def end_batch(self, clips: int) -> None:
        """Count the clips of a batch."""
        if self.first is None:
            self.first, self.clips, self.seconds = (clips, self.seconds), 0, {}
        else:
            self.clips += clips

    def result(self) -> tuple[int, dict[str, float]]:
        """Return clips and seconds."""
        return (self.clips, self.seconds) if self.clips or self.first is None else self.first


def rates_of(shares: list[tuple[int, dict[str, float]]], schedules: list[str], *, workers: int) -> Rates:
    """Return the rates of what the processes of an evaluation counted; `workers` are those of each."""
    shares = [share for share in shares if share[0]]

    def rate(part: str) -> float:
        return sum(clips / max(seconds[part], 1e-9) for clips, seconds in shares)

    return Rates(
        reading=rate("reading") * max(1, workers),
        readers=len(shares) * max(1, workers),
        filterbank=rate("filterbank"),
        model={name: rate(f"model {name}") for name in schedules},
    )
