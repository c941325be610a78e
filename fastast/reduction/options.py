"""Typed options of a method: a frozen dataclass, read from plain values and described to users."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import textwrap
import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fastast.finite import own_number
from fastast.names import unknown_name


class ReductionError(ValueError):
    """A reduction that makes no sense, or that the model at hand cannot do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a method that has none."""


def check_option_class(kind: Any, method: str) -> None:
    """Raise ReductionError, with method, field and rule, where a class cannot hold the options of a method."""

    def refused(what: str) -> ReductionError:
        return ReductionError(f"reduction {method}: {what}")

    name = getattr(kind, "__qualname__", repr(kind))
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        raise refused(
            f"its options, {name}, are not a dataclass; write @dataclass(frozen=True, kw_only=True) above the class"
        )
    if not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise refused(f"its options, {name}, can change, but a reduction is hashed; write @dataclass(frozen=True, ...)")
    for field in dataclasses.fields(kind):
        if _required(field) or field.default is dataclasses.MISSING:
            raise refused(f"the option {field.name} has no default; write one after it, {field.name}: ... = ...")
        if field.name.startswith("_"):
            raise refused(f"the option {field.name} begins with _; give it another name")
    for field_name, option in option_types(kind).items():
        if not _is_known(option):
            raise refused(
                f"the option {field_name} is a {option}; records and command lines hold bool, int, float, str, "
                "Literal[...], and unions of these with None"
            )


def _is_known(kind: Any) -> bool:
    """Return whether values of a type are plain: one word on a command line, one value in a record."""
    if get_origin(kind) is Literal:
        return all(isinstance(value, bool | int | float | str) for value in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return all(part is type(None) or _is_known(part) for part in get_args(kind))
    return kind in (bool, int, float, str)


def parse_options(kind: type, values: Mapping[str, object], method: str) -> Any:
    """Return options of `kind` from plain values.

    Raises ReductionError for an option that the method does not have, or a value that it does not allow.
    """
    known = option_types(kind)
    values = {name: own_number(value) for name, value in values.items()}
    for name, value in values.items():
        if name not in known:
            have = unknown_name("option", name, known) if known else f"unknown option {name!r}. There are none"
            raise ReductionError(f"reduction {method}: {have}")
        if problem := _problem(known[name], value):
            raise ReductionError(f"reduction {method}: {name} is {value!r}; {problem}")
    missing = [field.name for field in dataclasses.fields(kind) if _required(field) and field.name not in values]
    if missing:
        raise ReductionError(f"reduction {method}: the option {missing[0]} is missing; it has no default")
    try:
        return kind(**{name: _plain(known[name], value) for name, value in values.items()})
    except ReductionError:
        raise
    except (TypeError, ValueError) as error:
        raise ReductionError(f"reduction {method}: {error}") from error


def read_option(kind: type, name: str, text: str, method: str) -> object:
    """Return the value that a text on a command line means. Raises ReductionError as `parse_options` does."""
    known = option_types(kind)
    if name not in known:
        parse_options(kind, {name: text}, method)  # raises
    for candidate in _readings(text):
        if not _problem(known[name], candidate):
            return candidate
    raise ReductionError(f"reduction {method}: {name} is {text!r}; {_problem(known[name], text)}")


@lru_cache
def option_types(kind: type) -> dict[str, Any]:
    """Return the type of every option by its name."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def option_values(options: Any) -> dict[str, object]:
    """Return the options that are not at their default, and those that records have always carried."""
    return {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if field.metadata.get("always") or getattr(options, field.name) != field.default
    }


@lru_cache
def option_docs(kind: type) -> dict[str, str]:
    """Return the docstring under every option, in one line each."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, SyntaxError, ValueError):  # defined dynamically, without source
            continue
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for line, doc in itertools.pairwise(body):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(doc, ast.Expr):
                docs[line.target.id] = " ".join(str(ast.literal_eval(doc.value)).split())
    return docs


def allowed_text(kind: Any) -> str:
    """Return the values that a type allows, as text for users: `keys, queries`, `a number`, `true or false`."""
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(allowed_text(part) for part in get_args(kind) if part is not type(None))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return names.get(kind, str(kind))


def value_fits(kind: Any, value: object) -> bool:
    """Return whether a value is of an option's type."""
    return not _problem(kind, value)


def _problem(kind: Any, value: object) -> str:
    """Return what a type allows where `value` is not of it; empty where it is."""
    if get_origin(kind) is Literal:
        known = get_args(kind)
        # True == 1, but a boolean is not a number.
        fits = any(value == one and type(value) is type(one) for one in known)
        return "" if fits else f"allowed: {', '.join(map(str, known))}"
    if get_origin(kind) in (Union, types.UnionType):
        return "" if any(not _problem(part, value) for part in get_args(kind)) else f"give {allowed_text(kind)}"
    if kind is type(None):
        return "" if value is None else "give nothing"
    numeric = kind is float and isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value):
        return "give a finite number" if kind is float else f"give {allowed_text(kind)}"
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return "" if fits or numeric else f"give {allowed_text(kind)}"


def _plain(kind: Any, value: object) -> object:
    """Return a value as options and records hold it: 2 becomes 2.0 where a number is expected, so that both agree."""
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    whole = isinstance(value, int) and not isinstance(value, bool) and int not in parts
    named = any(get_origin(part) is Literal and not _problem(part, value) for part in parts)
    return float(value) if whole and float in parts and not named else value  # type: ignore[arg-type]


def _readings(text: str) -> list[object]:
    """Return what a text may mean, the most specific first."""
    found: list[object] = []
    if text.lower() in ("true", "false"):
        found.append(text.lower() == "true")
    if text.lower() == "none":
        found.append(None)
    for number in (int, float):
        try:
            found.append(number(text))
        except ValueError:
            continue
    return [*found, text]


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
