"""Messages for a wrong value: what was read, what is allowed, and what is near."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

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
    """Return `value` where it is allowed; raise pydantic's error with what is allowed and what is near otherwise."""
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
    """Return a value as the sweep file writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return str(value)
