"""Private data in a record's texts: folders, addresses, names of hosts and users."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.records.schema import Record

_FOLDER = re.compile(
    r"(?<![\w./~])(?:~[\w-]*)?/(?:[\w.@+~-]+/)+[\w.@+~-]*"  # /home/alice/x
    r"|(?<![\w/])~[\w-]*/[\w.@+-]+"  # ~/x
    r"|\b[A-Za-z]:\\[^\s'\"]+"  # C:\Users\alice
)
_ADDRESS = re.compile(
    r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b|[\w.+-]+@[\w-]+\.[\w.]+\w"
)
QUESTION = "cell"
"""The part of a record with the question, whose hash is its id: nothing in it can be changed."""
_FACTS = ("machine", "software", "suite", "model")
"""Parts with facts, where a version of four numbers is not an address and a device may be called like a host."""
SHORTEST = 3
"""Fewest letters of a host's or a user's name that is searched for; a shorter one would be found in any text."""


def private_texts(record: Record, names: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return the key and the words of everything private in a record; `names` are those of hosts and users."""
    raw = record.model_dump(mode="json")
    return [(key, found) for key, text in _texts(raw, "") for found in _private(key, text, names)]


def without_private(record: Record, names: Sequence[str] = ()) -> Record:
    """Return a record with folders cut to their last part, and a word in place of every address or name.

    The question is left as it is: `private_texts` still tells what is in it.
    """
    raw = record.model_dump(mode="json")
    cleaned = {key: value if key == QUESTION else _changed(value, key, names) for key, value in raw.items()}
    return Record.model_validate_json(json.dumps(cleaned))


def _private(key: str, text: str, names: Sequence[str]) -> list[str]:
    return [found[0] for pattern, _ in _rules(key, names) for found in pattern.finditer(text)]


def _rules(key: str, names: Sequence[str]) -> Iterator[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]]:
    """Yield what to search for in the text of a key, and what to replace it with."""
    yield _FOLDER, lambda found: re.split(r"[/\\]", found[0].rstrip("/\\"))[-1]
    if key.partition(".")[0] in (*_FACTS, QUESTION):
        return
    yield _ADDRESS, lambda found: "ADDRESS"
    known = [re.escape(name) for name in names if len(name) >= SHORTEST]
    if known:
        yield re.compile(rf"(?<![\w-])(?:{'|'.join(known)})(?![\w-])", re.IGNORECASE), lambda found: "NAME"


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _texts(inner, f"{key}.{place}")


def _changed(value: Any, key: str, names: Sequence[str]) -> Any:
    if isinstance(value, str):
        for pattern, replacement in _rules(key, names):
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, dict):
        return {name: _changed(inner, f"{key}.{name}", names) for name, inner in value.items()}
    if isinstance(value, list):
        return [_changed(inner, f"{key}.{place}", names) for place, inner in enumerate(value)]
    return value
