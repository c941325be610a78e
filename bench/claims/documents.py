"""Claims in documents: `<!-- claim: NAME -->the sentence<!-- /claim -->`, which code fills in, except in backticks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.claims.claim import ClaimError

_END = "<!-- /claim -->"
_MARK = re.compile(r"(?<!`)<!-- claim: (?P<name>[\w-]+) -->(?P<text>.*?)<!-- /claim -->", re.DOTALL)
_ANY_MARK = re.compile(r"(?<!`)<!--\s*/?\s*claim(?:\b|s:)[^>]*>?", re.IGNORECASE)
"""Everything that was meant as a mark."""
_RIGHT_MARK = re.compile(r"<!-- (?:claim: (?P<name>[\w-]+)|/claim) -->")


def documents(root: Path) -> list[Path]:
    """Return the documents that may contain claims: README, CHANGELOG and those in `docs/`."""
    return [
        path
        for path in (root / "README.md", root / "CHANGELOG.md", *sorted((root / "docs").glob("**/*.md")))
        if path.is_file()
    ]


def claims_in(text: str) -> list[str]:
    """Return the names of the claims in a document.

    Raises ClaimError for a malformed mark, and for one without its counterpart.
    """
    opened, ended = [], 0
    for found in _ANY_MARK.findall(text):
        mark = _RIGHT_MARK.fullmatch(found)
        if mark is None:
            shown = found.splitlines()[0]
            raise ClaimError(f"{shown!r} is not a mark of a claim; write <!-- claim: NAME --> before it, {_END} after")
        opened += [mark["name"]] if mark["name"] else []
        ended += not mark["name"]
    names = [match["name"] for match in _MARK.finditer(text)]
    if opened != names:
        lost = next(name for name in opened if opened.count(name) != names.count(name))
        raise ClaimError(f"the mark of claim {lost!r} is not closed by {_END}, or contains another claim")
    if ended != len(names):
        raise ClaimError(f"has {_END} {ended} times for {len(names)} claims; remove those that end none")
    return names


def fill(text: str, sentences: Mapping[str, str]) -> str:
    """Return a document with the texts of its claims from `sentences`; one that is unchanged keeps its line breaks.

    Raises ClaimError for a claim that is not in `sentences`, and for a mark that is not closed.
    """
    for name in claims_in(text):
        if name not in sentences:
            raise ClaimError(f"no claim {name!r} in the claims file; it has: {', '.join(sorted(sentences))}")

    def filled(match: re.Match[str]) -> str:
        wanted = sentences[match["name"]]
        if match["text"].split() == wanted.split():
            return match[0]
        return f"<!-- claim: {match['name']} -->{wanted}<!-- /claim -->"

    return _MARK.sub(filled, text)


def unused(names: Iterable[str], texts: Iterable[str]) -> list[str]:
    """Return the claims that are in no document."""
    stated = {name for text in texts for name in claims_in(text)}
    return sorted(set(names) - stated)
