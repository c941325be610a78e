"""Schedules: how many tokens each block removes.

A schedule states what is wanted; `fastast.reduction.TokenReduction.tokens_per_block` resolves it for a model and
refuses what its method cannot do. Terms: `r` tokens removed per block, `n` tokens, `depth` blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from fastast.encoder import EncoderShape, HasEncoder, encoder_of
from fastast.finite import hold_own_numbers, own_number
from fastast.macs import Choosing, encoder_macs
from fastast.names import unknown_name
from fastast.schedule_file import is_schedule_file, read_schedule_file

LargestRemoval = Callable[[int, int], int]
"""Maps a number of tokens and the index of a block to the most tokens that the block can remove."""


class ScheduleError(ValueError):
    """A schedule that makes no sense for any model, or for the one at hand."""


@dataclass(frozen=True)
class Constant:
    """The same `r` in every block (ToMe, section 3.2)."""

    r: int
    """Tokens removed per block."""

    def __post_init__(self) -> None:
        hold_own_numbers(self)
        _check_count("constant", "r", self.r)

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
        _check_count("linear", "r", self.r)
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
        return f"{name}:{self.r}" if name else f"linear:{self.r}:{_number(self.inflection)}"


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
        _check_count(self.where, "r", self.r)

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
        _check_count("first", "r", self.r)

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
            _check_count("list", f"number {i + 1}", count)

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
        return f"keep:{_number(self.ratio)}"


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
        return f"speedup:{_number(self.speedup)}" + (f":{_number(self.inflection)}" if self.inflection else "")


def _number(value: float) -> str:
    """Return a number as text that reads back as the same number, in short form where possible."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


Schedule = Constant | Linear | Half | First | PerBlock | KeepRatio | TargetSpeedup


def count_tokens(
    num_tokens: int, removals: tuple[int, ...], limit: LargestRemoval
) -> tuple[tuple[int, ...], int | None]:
    """Return how many tokens leave each block, and the index of the first block that is to remove more than `limit`.

    Where a block is to remove more, it is counted at its limit; None means that every removal is possible.
    """
    tokens, first_excess = [], None
    for block, r in enumerate(removals):
        most = limit(num_tokens, block)
        if r > most and first_excess is None:
            first_excess = block
        num_tokens -= min(r, most)
        tokens.append(num_tokens)
    return tuple(tokens), first_excess


_FORMS = (
    "constant:R, decreasing:R, increasing:R, linear:R:INFLECTION, early:R, late:R, first:R, list:R1,R2,..., "
    "keep:RATIO, speedup:X[:INFLECTION], or a file of `fastast tune`"
)


def parse_schedule(text: str) -> Schedule:
    """Read a schedule from its text, in the form that `str(schedule)` writes, or from a file (`fastast.schedule_file`).

    Raises ScheduleError, with the text and the possible forms, or ScheduleFileError, with the file.
    """
    if is_schedule_file(text):
        return parse_schedule(read_schedule_file(text)["schedule"])
    name, _, rest = text.strip().partition(":")
    values = rest.split(":") if rest else []
    try:
        match name, values:
            case "constant", [r]:
                return Constant(int(r))
            case "decreasing", [r]:
                return Linear(int(r), -1.0)
            case "increasing", [r]:
                return Linear(int(r), 1.0)
            case "linear", [r, inflection]:
                return Linear(int(r), float(inflection))
            case "early" | "late", [r]:
                return Half(int(r), "early" if name == "early" else "late")
            case "first", [r]:
                return First(int(r))
            case "list", [counts]:
                return PerBlock(tuple(int(count) for count in counts.split(",")))
            case "keep", [ratio]:
                return KeepRatio(float(ratio))
            case "speedup", [speedup]:
                return TargetSpeedup(float(speedup))
            case "speedup", [speedup, inflection]:
                return TargetSpeedup(float(speedup), float(inflection))
    except ScheduleError:
        raise
    except ValueError:
        raise ScheduleError(
            f"schedule {text!r}: R must be a whole number, all other values numbers (to keep half, keep:0.5); the "
            f"forms are {_FORMS}"
        ) from None
    known = ["constant", "decreasing", "increasing", "linear", "early", "late", "first", "list", "keep", "speedup"]
    if name not in known:
        raise ScheduleError(f"schedule {text!r}: {unknown_name('schedule', name, known)}; the forms are {_FORMS}")
    raise ScheduleError(f"schedule {text!r}: the forms are {_FORMS}")


def _check_count(schedule: str, name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ScheduleError(f"schedule {schedule}: {name} is {value!r}; it must be a whole number of at least 0")
