"""The methods of token reduction by name, and what is known about one before anything runs.

A method is a pure function `method(tokens, r, options) -> MergePlan` (`fastast.reduction.tokens`, `.plan`). Installed
packages add theirs through the entry point group `fastast.methods`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, get_args

from fastast.names import unknown_name
from fastast.reduction.combine import Combine
from fastast.reduction.options import NoOptions, ReductionError, check_option_class
from fastast.registry import Registry, home_of

if TYPE_CHECKING:
    from fastast.encoder import EncoderShape
    from fastast.reduction.plan import MergePlan
    from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """What is known about a block before anything runs."""

    num_tokens: int
    """Number of tokens that enter the block."""
    num_protected: int
    """Number of leading tokens that must stay alone."""
    block: int
    """Index of the block, from 0."""
    encoder: EncoderShape
    """Shape of the encoder that the block belongs to."""

    @property
    def num_free(self) -> int:
        """Number of tokens that a method may touch."""
        return max(0, self.num_tokens - self.num_protected)


class ChooseTokens(Protocol):
    """A pure function from what is known about a block's tokens to a plan that removes `r` of them."""

    def __call__(self, tokens: BlockTokens, r: int, options: Any) -> MergePlan:
        """`r` is at least 1 and at most the method's limit; the first `tokens.num_protected` tokens stay alone."""
        ...


Limit = Callable[[BlockShape, Any], int]
"""The most tokens that a method with these options can remove in a block."""
ChoosingMacs = Callable[[BlockShape, int, Any], int]
"""Multiply-accumulates of choosing `r` tokens of one clip: every matrix product, as PyTorch counts them."""


ByOptions = Callable[[Any], bool]
"""Whether something holds for a method with these options."""


@dataclass(frozen=True, kw_only=True)
class ReductionMethod:
    """A method and what is known about it before it runs."""

    name: str
    """Name in sweeps, recipes and on the command line."""
    choose: ChooseTokens
    """Function that makes the plan."""
    label: str
    """Name in figures and tables."""
    options: type = NoOptions
    """A frozen dataclass: its fields are the options, with defaults and a docstring under each."""
    limit: Limit
    """The most tokens that it can remove in one block."""
    macs: ChoosingMacs
    """Multiply-accumulates of the choice itself."""
    keeps_order: bool = False
    """Whether the remaining tokens keep the order of their positions."""
    random: bool | ByOptions = False
    """Whether it draws random numbers, so that its seed is part of what a record answers. A function where that depends
    on options."""
    oracle: bool = False
    """Whether it is a bound to compare with rather than a way to reduce tokens."""
    combine: Combine = "size"
    """How the tokens of a slot become one, where a reduction leaves this to the method."""
    at_input: bool | ByOptions = False
    """Whether it can choose before the first block, where tokens have positions but no attention. A function where that
    depends on options."""
    thresholds: bool | ByOptions = False
    """Whether it merges by `tokens.threshold`, the least cosine at which a pair merges, and leaves `tokens.dead` alone.
    A function where that depends on options."""
    cannot: str = ""
    """Why the kernels of `fastast.compile` cannot run it, as a sentence; empty where they can."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w-]*", self.name):
            raise ReductionError(f"reduction {self.name!r}: the name of a method is letters, digits, - and _")
        if self.combine not in get_args(Combine):
            raise ReductionError(f"reduction {self.name}: {unknown_name('combine', self.combine, get_args(Combine))}")
        check_option_class(self.options, self.name)

    def draws(self, options: Any) -> bool:
        """Return whether it draws random numbers with these options."""
        return self.random(options) if callable(self.random) else self.random

    def chooses_at_input(self, options: Any) -> bool:
        """Return whether it can choose before the first block with these options."""
        return self.at_input(options) if callable(self.at_input) else self.at_input

    def takes_threshold(self, options: Any) -> bool:
        """Return whether a threshold can decide what it merges with these options."""
        return self.thresholds(options) if callable(self.thresholds) else self.thresholds

    @property
    def summary(self) -> str:
        """The first line of its docstring, or its label where it has none."""
        return (getattr(self.choose, "__doc__", None) or self.label).strip().splitlines()[0]

    def __call__(self, tokens: BlockTokens, r: int, options: Any = None) -> MergePlan:
        """Return the plan, with default options where none are given."""
        return self.choose(tokens, r, self.options() if options is None else options)


_OWN = (
    "tome", "slice", "topk", "evit", "random", "pool", "patchout", "local", "algm", "adjacent", "shift", "pitome",
    "tofu", "dtem",
)  # fmt: skip
METHODS: Registry[ReductionMethod] = Registry(
    "reduction method",
    {name: f"fastast.reduction.methods.{name}:METHOD" for name in _OWN},
    group="fastast.methods",
)
"""All methods; FastAST's own are imported on first use."""


def no_macs(shape: BlockShape, r: int, options: Any) -> int:
    """Return 0, for a choice without a matrix product."""
    return 0


def all_free(shape: BlockShape, options: Any) -> int:
    """Return the number of unprotected tokens."""
    return shape.num_free


def all_but_one(shape: BlockShape, options: Any) -> int:
    """Return the number of unprotected tokens less one."""
    return max(0, shape.num_free - 1)


def half_of_free(shape: BlockShape, options: Any) -> int:
    """Return half the number of unprotected tokens, the most that pairing can remove."""
    return shape.num_free // 2


def reduction_method(
    name: str,
    *,
    label: str,
    limit: Limit,
    macs: ChoosingMacs = no_macs,
    options: type = NoOptions,
    keeps_order: bool = False,
    random: bool | ByOptions = False,
    oracle: bool = False,
    combine: Combine = "size",
    at_input: bool | ByOptions = False,
    thresholds: bool | ByOptions = False,
    cannot: str = "",
) -> Callable[[ChooseTokens], ReductionMethod]:
    """Make a method from a function; an entry point of `fastast.methods`, or `register_method`, makes it known.

    The arguments are the fields of `ReductionMethod`. Raises ReductionError for options that records cannot hold.
    """

    def decorate(choose: ChooseTokens) -> ReductionMethod:
        return ReductionMethod(
            name=name,
            choose=choose,
            label=label,
            options=options,
            limit=limit,
            macs=macs,
            keeps_order=keeps_order,
            random=random,
            oracle=oracle,
            combine=combine,
            at_input=at_input,
            thresholds=thresholds,
            cannot=cannot,
        )

    return decorate


def register_method(method: ReductionMethod) -> ReductionMethod:
    """Make a method known in this process; running the same definition again, as in a notebook, replaces it.

    Other processes, such as those of a sweep, know only installed methods. Raises ValueError where its name is taken.
    """
    before = METHODS.get(method.name) if method.name in METHODS else None
    again = isinstance(before, ReductionMethod) and home_of(before.choose) == home_of(method.choose) is not None
    if before is not None and not again:  # an installed package's too
        raise ValueError(f"the reduction method {method.name!r} is already registered; give another name")
    METHODS.add(method.name, method, replace=again)
    return method


def method_names() -> tuple[str, ...]:
    """Return the names of all methods."""
    return METHODS.names()


def get_method(name: str) -> ReductionMethod:
    """Return the method called `name`.

    Raises ReductionError (a ValueError) for an unknown name, with the nearest known one, and where an entry point names
    something other than a method, or a method of another name.
    """
    try:
        method = METHODS.get(name)
    except ValueError as error:
        own = "" if name in METHODS else "; register one of your own with fastast.reduction.register_method first"
        raise ReductionError(f"{error}{own}") from None
    if not isinstance(method, ReductionMethod):
        raise ReductionError(
            f"reduction {name}: what is registered is a {type(method).__name__}, not a method; decorate the function "
            "with fastast.reduction.reduction_method"
        )
    if method.name != name:
        raise ReductionError(
            f"reduction {name}: what is registered under this name calls itself {method.name!r}; give the entry point "
            "and reduction_method the same name"
        )
    return method
