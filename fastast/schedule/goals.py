"""Schedules that state a goal, in shares or speed-up: their numbers of tokens follow from the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from fastast.encoder import EncoderShape, HasEncoder, encoder_of
from fastast.finite import hold_own_numbers
from fastast.macs import Choosing, encoder_macs
from fastast.schedule.counts import Linear
from fastast.schedule.tokens import count_tokens
from fastast.schedule.values import ScheduleError, number_text


@dataclass(frozen=True)
class KeepRatio:
    """Keep the same share of the unprotected tokens in every block, rounded up."""

    ratio: float
    """Share of the unprotected tokens that leave a block, above 0 and up to 1; at least 0.5 for bipartite matching."""

    def __post_init__(self) -> None:
        hold_own_numbers(self)
        if not 0 < self.ratio <= 1:
            raise ScheduleError(
                f"schedule keep: ratio is {self.ratio!r}; give a share above 0 (keep almost none), up to 1 (keep all)"
            )

    def removals(
        self, shape: EncoderShape | HasEncoder, num_protected: int, choosing: Choosing | None = None
    ) -> tuple[int, ...]:
        """Return the tokens that each block removes to leave `ceil(ratio * unprotected)` unprotected ones."""
        encoder = encoder_of(shape)
        left, counts = encoder.num_tokens - num_protected, []
        for _ in range(encoder.depth):
            kept = math.ceil(left * Fraction(str(self.ratio)))  # 25 * 0.56 is 14, not a hair more
            counts.append(left - kept)
            left = kept
        return tuple(counts)

    def __str__(self) -> str:
        return f"keep:{number_text(self.ratio)}"


@dataclass(frozen=True)
class TargetSpeedup:
    """The smallest `r` of a linear family whose MACs are at least `speedup` times fewer."""

    speedup: float
    """MACs of the unmerged model over those of the merged one, at least 1."""
    inflection: float = 0.0
    """Shape of the family, as in `Linear`; 0 is constant."""

    def __post_init__(self) -> None:
        hold_own_numbers(self)
        if not (math.isfinite(self.speedup) and self.speedup >= 1):
            raise ScheduleError(f"schedule speedup: {self.speedup!r} is not a speed-up; give a number of at least 1")
        Linear(0, self.inflection)

    def removals(
        self, shape: EncoderShape | HasEncoder, num_protected: int, choosing: Choosing | None = None
    ) -> tuple[int, ...]:
        """Return the tokens that each block removes with that `r`.

        Raises ScheduleError where no `r` reaches the target, with the most that any reaches, and without `choosing`.
        """
        if choosing is None:
            raise ScheduleError("schedule speedup: it depends on what a method costs; call TokenReduction.removals")
        encoder = encoder_of(shape)
        unmerged, best = encoder_macs(encoder), 1.0
        for r in range(encoder.num_tokens):
            counts = Linear(r, self.inflection).removals(encoder, num_protected)
            tokens, excess = count_tokens(encoder.num_tokens, counts, lambda n, i: choosing.limit(encoder, n, i))
            if excess is not None and choosing.excess != "cap":
                break
            best = max(best, unmerged / encoder_macs(encoder, tokens, choosing))
            if best >= self.speedup:
                return counts
        raise ScheduleError(
            f"schedule speedup: {self.speedup:g} times fewer MACs cannot be reached with {encoder.num_tokens} tokens "
            f"and inflection {self.inflection:g}; the most is {best:.2f}. Remove earlier "
            "(inflection -1) or ask for less"
        )

    def __str__(self) -> str:
        return f"speedup:{number_text(self.speedup)}" + (f":{number_text(self.inflection)}" if self.inflection else "")
