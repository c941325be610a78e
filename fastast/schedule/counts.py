"""Schedules in numbers of tokens: the same for every model of a depth.

Terms: `r` tokens removed per block, `depth` blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from fastast.encoder import EncoderShape, HasEncoder, encoder_of
from fastast.finite import hold_own_numbers, own_number
from fastast.macs import Choosing
from fastast.names import unknown_name
from fastast.schedule.values import ScheduleError, check_count, number_text


@dataclass(frozen=True)
class Constant:
    """The same `r` in every block (ToMe, section 3.2)."""

    r: int
    """Tokens removed per block."""

    def __post_init__(self) -> None:
        hold_own_numbers(self)
        check_count("constant", "r", self.r)

    def removals(
        self, shape: EncoderShape | HasEncoder, num_protected: int, choosing: Choosing | None = None
    ) -> tuple[int, ...]:
        """Return `r` once per block."""
        return (self.r,) * encoder_of(shape).depth

    def __str__(self) -> str:
        return f"constant:{self.r}"


@dataclass(frozen=True)
class Linear:
    """From `r (1 - inflection)` in the first block to `r (1 + inflection)` in the last, in equal steps.

    ToMe's rule, rounded down: inflection -1 is its decreasing schedule, +1 its increasing one. Exact arithmetic here;
    ToMe's code occasionally loses a token to floating point (increasing:30 ends at 60 here, at 59 there).
    """

    r: int
    """Mean tokens removed per block, before rounding."""
    inflection: float
    """From -1 (remove early) through 0 (constant) to 1 (remove late)."""

    def __post_init__(self) -> None:
        hold_own_numbers(self)
        check_count("linear", "r", self.r)
        if not -1 <= self.inflection <= 1:
            raise ScheduleError(
                f"schedule linear: inflection is {self.inflection!r}; allowed is -1 (remove early) to 1 (remove "
                "late), beyond which a block would remove fewer than 0 tokens"
            )

    def removals(
        self, shape: EncoderShape | HasEncoder, num_protected: int, choosing: Choosing | None = None
    ) -> tuple[int, ...]:
        """Return the tokens that each block removes; a model of one block removes `r`."""
        depth = encoder_of(shape).depth
        steps = depth - 1
        if steps == 0:
            return (self.r,)
        first = int(self.r * (1 - Fraction(str(self.inflection))))  # 40 * (1 - 0.8) is 8, not a hair less
        last = 2 * self.r - first
        # In integers, so that no step lands a hair below a whole number.
        return tuple((first * steps + (last - first) * i) // steps for i in range(depth))

    def __str__(self) -> str:
        name = {-1.0: "decreasing", 1.0: "increasing"}.get(float(self.inflection))
        return f"{name}:{self.r}" if name else f"linear:{self.r}:{number_text(self.inflection)}"


Where = Literal["early", "late"]


@dataclass(frozen=True)
class Half:
    """As many tokens in total as `r` in every block, but all in the first half of the blocks (early) or second (late).

    Each block of the half removes the same number, up to rounding. The half includes the middle one of an odd number of
    blocks.
    """

    r: int
    """Mean tokens removed per block, over all blocks."""
    where: Where
    """Which half of the blocks removes tokens."""

    def __post_init__(self) -> None:
        hold_own_numbers(self)
        if self.where not in get_args(Where):
            raise ScheduleError("schedule: " + unknown_name("half", self.where, get_args(Where)))
        check_count(self.where, "r", self.r)

    def removals(
        self, shape: EncoderShape | HasEncoder, num_protected: int, choosing: Choosing | None = None
    ) -> tuple[int, ...]:
        """Return the tokens that each block removes, `r` times the depth in total."""
        depth = encoder_of(shape).depth
        blocks, total = depth - depth // 2, self.r * depth
        half = tuple(total * (i + 1) // blocks - total * i // blocks for i in range(blocks))
        none = (0,) * (depth - blocks)
        return half + none if self.where == "early" else none + half

    def __str__(self) -> str:
        return f"{self.where}:{self.r}"


@dataclass(frozen=True)
class First:
    """As many tokens in total as `r` in every block, but all in the first: with `place="before"`, at the input."""

    r: int
    """Mean tokens removed per block, over all blocks."""

    def __post_init__(self) -> None:
        hold_own_numbers(self)
        check_count("first", "r", self.r)

    def removals(
        self, shape: EncoderShape | HasEncoder, num_protected: int, choosing: Choosing | None = None
    ) -> tuple[int, ...]:
        """Return `r` times the depth, and 0 for every other block."""
        depth = encoder_of(shape).depth
        return (self.r * depth, *(0,) * (depth - 1))

    def __str__(self) -> str:
        return f"first:{self.r}"


@dataclass(frozen=True)
class PerBlock:
    """An explicit number of tokens for every block."""

    counts: tuple[int, ...]
    """Tokens removed by each block, one number per block of the model."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", tuple(map(own_number, self.counts)))
        for i, count in enumerate(self.counts):
            check_count("list", f"number {i + 1}", count)

    def removals(
        self, shape: EncoderShape | HasEncoder, num_protected: int, choosing: Choosing | None = None
    ) -> tuple[int, ...]:
        """Return the list. Raises ScheduleError where its length is not the model's depth."""
        depth = encoder_of(shape).depth
        if len(self.counts) != depth:
            raise ScheduleError(
                f"schedule list: {len(self.counts)} numbers for a model of {depth} blocks; give one per block"
            )
        return self.counts

    def __str__(self) -> str:
        return "list:" + ",".join(map(str, self.counts))
