"""Read reductions from a command line: a schedule, a method, and options as `name=value`."""

from __future__ import annotations

from collections.abc import Sequence

from fastast.names import unknown_name
from fastast.reduction.options import ReductionError, read_option
from fastast.reduction.registry import get_method
from fastast.reduction.spec import FIELDS, TokenReduction, reduction_keys

_OTHERWISE = {"schedule": "--schedule", "method": "--method"}
"""Fields that have a command-line option of their own."""


def read_options(method: str, texts: Sequence[str]) -> dict[str, object]:
    """Return the values of `name=value` texts: options of a method, or fields that every reduction has.

    Raises ReductionError for a text without `=`, a name that the method does not have, one given twice, or a value
    that is not allowed.
    """
    kind = get_method(method).options
    keys = tuple(key for key in reduction_keys(method) if key not in _OTHERWISE)
    values: dict[str, object] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ReductionError(f"--option {text}: write NAME=VALUE, such as {keys[-1]}=...")
        if name in _OTHERWISE:
            raise ReductionError(f"--option {text}: give it as {_OTHERWISE[name]} {value}")
        if name not in keys:
            raise ReductionError(f"reduction {method}: {unknown_name('option', name, keys)}")
        if name in values:
            raise ReductionError(f"--option {text}: {name} is given twice")
        values[name] = read_option(TokenReduction if name in FIELDS else kind, name, value, method)
    return values


def read_reduction(
    schedule: str | None, *, method: str | None = None, options: Sequence[str] = (), excess: str | None = None
) -> TokenReduction | None:
    """Return the reduction of a command line; None without a schedule, which leaves a model unmerged.

    Raises ReductionError or ScheduleError (both ValueError) for what is impossible, and for a method or options without
    a schedule to use them.
    """
    if not schedule:
        _refuse_unused(method, options, excess)
        return None
    given = {"schedule": schedule} if method is None else {"schedule": schedule, "method": method}
    return override(TokenReduction.from_dict(given), options=options, excess=excess)


def override(
    reduction: TokenReduction, *, method: str | None = None, options: Sequence[str] = (), excess: str | None = None
) -> TokenReduction:
    """Return a reduction with another method, options or excess where these are given.

    Another method drops the options of the previous one. Raises ReductionError as `read_options` does.
    """
    values = reduction.to_dict()
    if method is not None and method != reduction.method:
        get_method(method)  # reports an unknown one first
        values = {name: value for name, value in values.items() if name in FIELDS} | {"method": method}
    values |= read_options(str(values["method"]), options)
    return TokenReduction.from_dict(values if excess is None else values | {"excess": excess})


def _refuse_unused(method: str | None, options: Sequence[str], excess: str | None) -> None:
    given = [("--method", method), *(("--option", option) for option in options), ("--excess", excess)]
    for name, value in given:
        if value is not None:
            raise ReductionError(f"{name} {value}: nothing is merged without a schedule; give --schedule constant:40")
