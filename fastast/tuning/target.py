"""The target of a tuning: a speed or a loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


class TuningError(ValueError):
    """A question that the tuner cannot answer; the message says what to change."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Exactly one of three targets: the best schedule at a speed (given in two ways), or the fastest within a loss."""

    speedup: float | None = None
    """Time of the unmerged model divided by that of the merged one, more than 1."""
    clips_per_second: float | None = None
    """Throughput, more than 0."""
    max_loss: float | None = None
    """How far the metric may fall below the unmerged model's, above 0 and below 1."""

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            options = [f"--{field.name.replace('_', '-')}" for field in fields(self)]
            said = (
                ", ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in given.items()) or "none is given"
            )
            raise TuningError(f"tune: give one target of {', '.join(options)}; {said}")
        allowed = {
            "speedup": ("more than 1", lambda value: value > 1),
            "clips_per_second": ("more than 0", lambda value: value > 0),
            "max_loss": ("above 0 and below 1", lambda value: 0 < value < 1),
        }
        for name, value in given.items():
            words, fits = allowed[name]
            if not math.isfinite(value) or not fits(value):
                raise TuningError(f"tune: --{name.replace('_', '-')} is {value!r}; it must be {words}")

    @property
    def of_speed(self) -> bool:
        """Whether the target is a speed."""
        return self.max_loss is None

    def seconds(self, unmerged: float, batch_size: int) -> float:
        """Return the longest time per batch that meets a speed target; `unmerged` is the unmerged model's time."""
        if self.speedup is not None:
            return unmerged / self.speedup
        assert self.clips_per_second is not None, "a loss target says nothing about time"
        return batch_size / self.clips_per_second

    def __str__(self) -> str:
        if self.speedup is not None:
            return f"{self.speedup:g} times as fast as the model unmerged"
        if self.clips_per_second is not None:
            return f"{self.clips_per_second:g} clips per second"
        return f"a loss of at most {self.max_loss:g}"
