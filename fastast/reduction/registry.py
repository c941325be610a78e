"""The methods of token reduction, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fastast.names import unknown_name
from fastast.reduction.plan import MergePlan


class ReductionMethod(Protocol):
    """A pure function from what a block knows of its tokens to a plan that removes `r` of them."""

    def __call__(self, metric: Tensor, size: Tensor | None, r: int, *, num_protected: int, order: str) -> MergePlan:
        """metric: (b, n, d). size: (b, n) or None. The first `num_protected` tokens stay alone."""
        ...


class RemovalLimit(Protocol):
    """The most tokens that a method can remove in one block."""

    def __call__(self, num_tokens: int, num_protected: int) -> int:
        """Return the largest `r` for a block of `num_tokens` tokens."""
        ...


@dataclass(frozen=True, kw_only=True)
class RegisteredMethod:
    """A method and what is known of it before it runs."""

    plan: ReductionMethod
    """The function that makes the plan."""
    limit: RemovalLimit
    """The most tokens it can remove in one block."""


_METHODS: dict[str, RegisteredMethod] = {}


def register_method(name: str, *, limit: RemovalLimit) -> Callable[[ReductionMethod], ReductionMethod]:
    """Register a method under `name`. Raises ValueError where the name is taken by another function."""

    def decorate(method: ReductionMethod) -> ReductionMethod:
        if name in _METHODS and _METHODS[name].plan is not method:
            raise ValueError(f"reduction method {name!r} is registered already")
        _METHODS[name] = RegisteredMethod(plan=method, limit=limit)
        return method

    return decorate


def method_names() -> tuple[str, ...]:
    """Return the names of all registered methods."""
    return tuple(_METHODS)


def get_method(name: str) -> RegisteredMethod:
    """Return the method called `name`. Raises ValueError with the nearest known name."""
    if name not in _METHODS:
        raise ValueError(unknown_name("reduction method", name, _METHODS))
    return _METHODS[name]
