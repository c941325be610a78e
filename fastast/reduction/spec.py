"""TokenReduction: a reduction as a value that can be printed, compared, hashed and recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fastast.encoder import EncoderShape, HasEncoder, encoder_of
from fastast.finite import hold_own_numbers
from fastast.macs import BlockPlace
from fastast.names import unknown_name
from fastast.reduction.combine import Combine
from fastast.reduction.fitting import check_input, check_plain_pooling, check_threshold
from fastast.reduction.options import (
    ReductionError,
    allowed_text,
    option_types,
    option_values,
    parse_options,
    value_fits,
)
from fastast.reduction.registry import BlockShape, ReductionMethod, get_method
from fastast.schedule import Schedule, count_tokens, parse_schedule
from fastast.schedule.file import is_schedule_file, read_schedule_file

Excess = Literal["refuse", "cap"]


class ExcessError(ReductionError):
    """A schedule that removes more tokens than a block has; `problem` says so without advice, which depends on where
    the schedule was written down."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"{problem} Remove fewer tokens, remove them earlier (a decreasing schedule), or cap as ToMe does: "
            "excess='cap' (--excess cap)"
        )
        self.problem = problem


CombineChoice = Literal["method", "size", "mean", "norm", "keep"]
"""A way to combine tokens, or the method's own."""


_CHECKED = ("method", "proportional", "num_protected", "weighted_pooling", "seed")
"""Fields of which `__post_init__` first checks the type."""


@dataclass(frozen=True, kw_only=True)
class TokenReduction:
    """How tokens are reduced in every block.

    Its fields are defined only here: sweeps, recipes, records and command lines derive theirs from them.
    """

    schedule: Schedule
    """Tokens removed per block, as a schedule or its text, such as "constant:40". A file of `fastast tune` also brings
    the options and fields that it was tuned with, for those that are at their defaults here."""
    method: str = "tome"
    """Name of a method, one of `fastast.reduction.method_names()`."""
    options: Any = field(default_factory=dict)
    """The method's own options: a mapping of those that differ from their defaults, kept as the method's dataclass."""
    proportional: bool = True
    """Weight a token by its size in attention (needed for off-the-shelf supervised models)."""
    combine: CombineChoice = "method"
    """How the tokens of a slot become one: method (its own way: norm for tofu, else size), size (mean weighted by
    size), mean, norm (mean weighted by size, scaled to the norm of the longest), keep (one of them alone). The method's
    own way is stored as method, because it is the same reduction."""
    num_protected: int | None = None
    """Number of leading tokens that stay alone. Not given: all prefix tokens (class and distillation)."""
    place: BlockPlace = "between"
    """Where in a block tokens are removed: `between` attention and MLP (ToMe), `before` attention (by what the previous
    block computed; in the first block, by the tokens alone), or `after` the MLP."""
    weighted_pooling: bool = True
    """Weight a token by its size where the head averages or pools tokens; false is refused for heads that pool none."""
    threshold: float | None = None
    """Least cosine at which a pair merges, above -1 and up to 1: every clip then merges only the pairs that reach it,
    at most as many as the schedule says. Not given: as many as the schedule says, however similar."""
    excess: Excess = "refuse"
    """What to do if a block has too few tokens for its `r`: `refuse` up front, or `cap` r as ToMe does."""
    seed: int = 0
    """Seed for methods that draw random numbers."""

    def __post_init__(self) -> None:
        if is_schedule_file(self.schedule):
            self._take_file()
        hold_own_numbers(self)
        for name in _CHECKED:
            kind, value = option_types(TokenReduction)[name], getattr(self, name)
            if not value_fits(kind, value):
                raise ReductionError(f"reduction: {name} is {value!r}; give {allowed_text(kind)}")
        if isinstance(self.schedule, str):
            object.__setattr__(self, "schedule", parse_schedule(self.schedule))
        if not callable(getattr(self.schedule, "removals", None)):
            raise ReductionError(
                f"reduction: schedule is {self.schedule!r}; give a text such as 'constant:40', or a schedule of "
                "fastast.schedule"
            )
        method = get_method(self.method)
        values: Any = self.options
        is_options = type(values) is method.options
        if is_options:
            values = {name: getattr(values, name) for name in option_types(method.options)}
        if not isinstance(values, Mapping):
            raise ReductionError(f"reduction {self.method}: options is {values!r}; give a mapping of names to values")
        object.__setattr__(self, "options", parse_options(method.options, values, self.method))
        if hidden := [name for name in option_types(method.options) if name in FIELDS]:
            raise ReductionError(
                f"reduction {self.method}: its option {hidden[0]} has the name of a field that every reduction has "
                f"({', '.join(FIELDS)}); rename the option"
            )
        for name, kind in (("combine", CombineChoice), ("place", BlockPlace), ("excess", Excess)):
            if getattr(self, name) not in get_args(kind):
                raise ReductionError("reduction: " + unknown_name(name, getattr(self, name), get_args(kind)))
        if self.combine == method.combine:
            object.__setattr__(self, "combine", "method")
        if self.threshold is not None:
            sizes_count = self.proportional and self.weighted_pooling
            check_threshold(self.threshold, method, self.options, sizes_count=sizes_count)
            object.__setattr__(self, "threshold", float(self.threshold))
        if self.num_protected is not None and self.num_protected < 0:
            raise ReductionError(f"reduction: num_protected is {self.num_protected}; allowed are None, 0, 1, ...")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TokenReduction:
        """Return the reduction that `to_dict` wrote: fields and options of the method side by side.

        A schedule file brings what it was tuned for: the method, options and fields that `values` does not give.
        Raises ReductionError for a key that is neither a field nor an option of the method, and for a file that was
        tuned for another method.
        """
        values = with_file(values)
        own = {name: value for name, value in values.items() if name in FIELDS}
        if "schedule" not in own:
            raise ReductionError("reduction: the schedule is missing, such as schedule = 'constant:40'")
        options = {name: value for name, value in values.items() if name not in FIELDS}
        return cls(**own, options=options)

    def to_dict(self) -> dict[str, Any]:
        """Return the reduction as plain values, the schedule as text: what records carry and a cell's id depends on.

        Fields that were added after the first records are left out at their defaults, so that ids stay the same.
        """
        later = {
            name: getattr(self, name)
            for name in ("combine", "num_protected", "place", "weighted_pooling", "threshold", "excess", "seed")
            if getattr(self, name) != _DEFAULTS[name]
        }
        first = {"method": self.method, "schedule": str(self.schedule), "proportional": self.proportional}
        return first | option_values(self.options) | later

    @property
    def registered(self) -> ReductionMethod:
        """The registered method."""
        return get_method(self.method)

    @property
    def draws(self) -> bool:
        """Whether its method draws random numbers, so that the seed is part of the question."""
        return self.registered.draws(self.options)

    @property
    def combining(self) -> Combine:
        """How the tokens of a slot become one."""
        return self.registered.combine if self.combine == "method" else self.combine

    def protected(self, shape: EncoderShape | HasEncoder) -> int:
        """Return how many leading tokens are protected in an encoder. Raises ReductionError where all would be."""
        encoder = encoder_of(shape)
        if self.num_protected is None:
            return encoder.num_prefix_tokens
        if self.num_protected >= encoder.num_tokens:
            raise ReductionError(
                f"reduction {self.method}: num_protected is {self.num_protected}, and the model has "
                f"{encoder.num_tokens} tokens: none could go; give at most {encoder.num_tokens - 1}"
            )
        return self.num_protected

    def limit(self, shape: EncoderShape | HasEncoder, num_tokens: int, block: int = 0) -> int:
        """Return the most tokens that a block can remove when `num_tokens` enter it: what the head reads stays."""
        at = self._block(shape, num_tokens, block)
        most = self.registered.limit(at, self.options)
        if not isinstance(most, int) or isinstance(most, bool) or not 0 <= most <= at.num_free:
            raise ReductionError(
                f"reduction {self.method}: block {block + 1}: its limit is {most!r}; of {num_tokens} tokens, "
                f"{self.protected(shape)} of them protected, a method removes 0 to {at.num_free}"
            )
        return min(most, max(0, num_tokens - at.encoder.least_tokens))

    def choosing_macs(self, shape: EncoderShape | HasEncoder, num_tokens: int, r: int, block: int = 0) -> int:
        """Return the multiply-accumulates, for one clip, of choosing which `r` of a block's tokens go."""
        if not r:
            return 0
        macs = self.registered.macs(self._block(shape, num_tokens, block), r, self.options)
        if not isinstance(macs, int) or macs < 0:
            raise ReductionError(
                f"reduction {self.method}: block {block + 1}: its macs are {macs!r}; give a whole number"
            )
        return macs

    def removals(self, shape: EncoderShape | HasEncoder) -> tuple[int, ...]:
        """Return how many tokens each block removes, known before anything runs; with a threshold, the most possible.

        Raises ReductionError, with the number of tokens that would leave each block, where a block has too few for its
        `r` and `excess` is "refuse".
        """
        tokens = self.tokens_per_block(shape)
        before = (encoder_of(shape).num_tokens, *tokens)
        return tuple(here - there for here, there in zip(before, tokens, strict=False))

    def tokens_per_block(self, shape: EncoderShape | HasEncoder) -> tuple[int, ...]:
        """Return how many tokens leave each block; with a threshold, the fewest possible.

        Raises ReductionError as `removals` does.
        """
        encoder, protected = encoder_of(shape), self.protected(shape)
        if not self.weighted_pooling:
            check_plain_pooling(encoder, self.method)
        wanted = self.schedule.removals(encoder, protected, self)
        if self.place == "before":
            check_input(wanted[0], self.registered, self.options, self.schedule)
        tokens, excess = count_tokens(encoder.num_tokens, wanted, lambda n, block: self.limit(encoder, n, block))
        if excess is None or self.excess == "cap":
            return tokens
        before, least = (encoder.num_tokens, *tokens)[excess], encoder.least_tokens
        needed = f" and {least} needed by the head" if least > protected else ""
        raise ExcessError(
            f"reduction {self.method} {self.schedule}: block {excess + 1} of {encoder.depth} has {before} tokens, "
            f"{protected} of them protected{needed}, and can remove {self.limit(encoder, before, excess)}, not "
            f"{wanted[excess]}. Tokens that leave each block if capped there: {', '.join(map(str, tokens))}."
        )

    def __str__(self) -> str:
        values = {name: getattr(self, name) for name in _DEFAULTS} | dataclasses.asdict(self.options)
        usual = _DEFAULTS | _option_defaults(self.registered.options)
        changed = [f"{name}={value}" for name, value in values.items() if value != usual[name]]
        return " ".join([self.method, str(self.schedule), *changed])

    def _take_file(self) -> None:
        """Take the other values of a schedule file, except where a value here differs from its default."""
        given = self.options
        if dataclasses.is_dataclass(given) and not isinstance(given, type):
            usual = _option_defaults(type(given))
            given = {name: value for name, value in dataclasses.asdict(given).items() if value != usual.get(name)}
        if not isinstance(given, Mapping):
            return  # refused later, as options that are not a mapping
        fields = {name: getattr(self, name) for name in _DEFAULTS if getattr(self, name) != _DEFAULTS[name]}
        values = with_file({**given, **fields, "method": self.method, "schedule": self.schedule})
        options = {name: value for name, value in values.items() if name not in FIELDS}
        for name, value in {**{name: values[name] for name in FIELDS if name in values}, "options": options}.items():
            object.__setattr__(self, name, value)

    def _block(self, shape: EncoderShape | HasEncoder, num_tokens: int, block: int) -> BlockShape:
        encoder = encoder_of(shape)
        return BlockShape(num_tokens=num_tokens, num_protected=self.protected(encoder), block=block, encoder=encoder)


def check_reduction(value: object, where: str) -> None:
    """Raise ReductionError, beginning with `where`, for what is not a reduction, such as a text or a schedule alone."""
    if not isinstance(value, TokenReduction):
        raise ReductionError(
            f"{where}: a {type(value).__name__} is not a reduction; give fastast.TokenReduction(schedule='constant:40')"
        )


def with_file(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a reduction, completed by those of its schedule file where its schedule is one.

    Raises ScheduleFileError for a bad file, ReductionError where it was tuned for another method.
    """
    if not is_schedule_file(values.get("schedule")):
        return dict(values)
    tuned = read_schedule_file(values["schedule"])
    theirs = tuned.get("method", TokenReduction.method)
    if (mine := values.get("method", theirs)) != theirs:
        raise ReductionError(
            f"reduction {mine}: {values['schedule']} was tuned for {theirs}; give method={theirs!r}, or the list in "
            "the file"
        )
    return {**tuned, **values, "schedule": tuned["schedule"]}


FIELDS = tuple(one.name for one in dataclasses.fields(TokenReduction) if one.name != "options")
"""Names of the fields that every method shares."""
_DEFAULTS = {
    one.name: one.default
    for one in dataclasses.fields(TokenReduction)
    if one.name not in ("schedule", "method", "options")
}


def reduction_keys(method: str) -> tuple[str, ...]:
    """Return every key that a reduction by this method may have in a sweep, a recipe or a record."""
    return (*FIELDS, *option_types(get_method(method).options))


def _option_defaults(kind: type) -> dict[str, object]:
    return {one.name: one.default for one in dataclasses.fields(kind)}
