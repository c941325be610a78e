"""Checks of a recipe's values, with consistent messages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from fastast.finite import is_number
from fastast.names import unknown_name


class RecipeError(ValueError):
    """A recipe that cannot be followed; the message names the key, its value and what is allowed."""


def check_whole(key: str, value: object, *, low: int, high: int | None = None) -> None:
    """Raise RecipeError unless `value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        limit = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise RecipeError(f"{key} is {value!r}; it must be a whole number {limit}")


def check_number(key: str, value: object, *, low: float, high: float = math.inf, more: bool = False) -> None:
    """Raise RecipeError unless `value` is a finite number from `low` to `high`; with `more`, it must exceed `low`."""
    if not is_number(value) or not low <= value <= high or (more and value == low):
        limit = (f"more than {low:g}" if more else f"at least {low:g}") + (
            "" if math.isinf(high) else f", at most {high:g}"
        )
        raise RecipeError(f"{key} is {_shown(value)}; it must be a number, {limit}")


def _shown(value: object) -> str:
    """Return a value as messages show it; for an integer too large for a float, only its number of digits."""
    too_large = isinstance(value, int) and not isinstance(value, bool) and not is_number(value)
    return f"a number of {len(str(value))} digits" if too_large else repr(value)


def check_choice(key: str, value: object, allowed: Iterable[str]) -> None:
    """Raise RecipeError unless `value` is one of the names in `allowed`."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise RecipeError(f"{key}: {unknown_name('value', value, allowed)}")


def check_flag(key: str, value: object) -> None:
    """Raise RecipeError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise RecipeError(f"{key} is {value!r}; it must be true or false")


def check_text(key: str, value: object) -> None:
    """Raise RecipeError unless `value` is text."""
    if not isinstance(value, str):
        raise RecipeError(f"{key} is {value!r}; it must be text")


def check_texts(key: str, values: Iterable[object], example: str) -> None:
    """Raise RecipeError unless all `values` are text; the message gives `example`."""
    for value in values:
        if not isinstance(value, str):
            raise RecipeError(f"{key} is {value!r}; it must be text such as {example!r}, or a list of such")


def check_options(key: str, value: object, example: str) -> None:
    """Raise RecipeError unless `value` is a table of plain values; the message gives `example`."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"{key} is {value!r}; it must be a table, such as {example}")
    for name, option in value.items():
        if not isinstance(option, str | int | float | bool):
            raise RecipeError(f"{key}.{name} is {option!r}; it must be text, a number, or true or false")
