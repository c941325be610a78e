"""Messages for wrong values: what was read, what is allowed and what is similar; pydantic's errors in such words."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError


class ConfigError(ValueError):
    """What was asked for cannot run; `problems` has one line for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def too_many_threads(threads: int, most: int) -> str:
    """Return the message for more threads than a process may run at once."""
    return (
        f"measure.threads: {threads} threads would wait for each other: affinity and quota let this process run {most} "
        f"at once; give at most {most}, or leave the key out"
    )


def unknown_key(key: str, allowed: Sequence[str]) -> str:
    """Return the message for a key that does not exist."""
    near = get_close_matches(key, allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown key{hint} Allowed: {', '.join(allowed)}"


def one_of(what: str, value: str, allowed: Sequence[str], index: int | None = None) -> str:
    """Return `value` if it is allowed; otherwise raise pydantic's error with what is allowed and what is similar."""
    if value in allowed:
        return value
    article = "an" if what[0] in "aeiou" else "a"
    near = get_close_matches(value, allowed, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    raise at(index, f"{as_toml(value)} is not {article} {what};{hint} allowed: {', '.join(allowed)}")


def at(index: int | None, message: str) -> PydanticCustomError:
    """Return the error for a value, or for item `index` of a list."""
    context: dict[str, Any] = {"ours": True} if index is None else {"ours": True, "index": index}
    return PydanticCustomError("invalid", "{text}", context | {"text": message})


def at_path(path: str, message: str) -> PydanticCustomError:
    """Return the error for the key at `path` below the part that is checked."""
    return PydanticCustomError("invalid", "{text}", {"ours": True, "path": path, "text": message})


def as_toml(value: Any) -> str:
    """Return a value as a sweep file writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return str(value)


def problem_words(path: Path, error: ValidationError, top: type[BaseModel], overrides: Sequence[str] = ()) -> list[str]:
    """Return `file: key: what is wrong` for each of pydantic's problems with a file whose content is a `top`."""
    found = error.errors()
    within = {problem["loc"][:depth] for problem in found for depth in range(len(problem["loc"]))}
    # pydantic also calls a list too short if one of its entries is wrong.
    own = [problem for problem in found if not (problem["type"] == "too_short" and problem["loc"] in within)]
    return [_explain(str(path), problem, top, overrides) for problem in own]


def _explain(shown: str, problem: Any, top: type[BaseModel], overrides: Sequence[str]) -> str:
    location = [str(part) for part in problem["loc"]]
    context = problem.get("ctx", {})
    # Drop what pydantic puts before FastAST's own words, and reword what it says itself.
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be ", "must be ")
    if "index" in context:
        location.append(str(context["index"]))
    if "path" in context:
        location.append(context["path"])
    if problem["type"] == "extra_forbidden":
        message = unknown_key(location[-1], _keys_beside(top, location))
    elif problem["type"] == "missing":
        message = "is missing; it is required"
    elif problem["type"] in _ENGLISH:
        message = f"{as_toml(problem['input'])} {_ENGLISH[problem['type']]}"
    elif problem["type"] == "too_short":
        least = context["min_length"]
        message = f"is empty; give at least {least}" if not problem["input"] else f"has fewer than {least} entries"
    elif not isinstance(problem.get("input"), dict) and context.get("ours") is None and "got" not in context:
        message = f"{message} (got {as_toml(problem['input'])})"
    source = next((f" (from -s {text})" for text in overrides if ".".join(location).startswith(text.split("=")[0])), "")
    return f"{shown}: {'.'.join(location)}: {message}{source}" if location else f"{shown}: {message}"


_ENGLISH = {
    "int_type": "is not a whole number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number; give one",
    "bool_type": "is not true or false",
    "string_type": "is not a text in quotes",
    "string_pattern_mismatch": "is not a name: lower-case letters, digits, - and _",
    "tuple_type": "is not a list",
    "list_type": "is not a list",
    "dict_type": "is not a table",
    "model_type": "is not a table",
}


def _keys_beside(top: type[BaseModel], location: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of the table that a location is in; a number in the location is a table's index in a list."""
    kind: Any = top
    for part in location[:-1]:
        if get_origin(kind) is dict:  # of tables with names that the file chooses
            kind = get_args(kind)[1]
        elif not part.isdigit():
            kind = _model_in(kind).model_fields[part].annotation
    return tuple(_model_in(kind).model_fields)


def _model_in(kind: Any) -> type[BaseModel]:
    """Return the model that a field's type is, or that its tuple or union contains."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next(_model_in(part) for part in get_args(kind) if part is not type(None) and part is not ...)
