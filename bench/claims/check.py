"""Check every claim of a project against its records, and the documents against the claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.claims.claim import ClaimError, DocumentClaim, read_claims
from bench.claims.documents import documents, fill, unused
from bench.claims.query import Tables, Value, broken, look_up, sentence_of
from bench.report.frame import ReportError
from bench.report.tables.markdown import markdown_table
from fastast.system.writing import write_whole

_HEADS = ("number", "value", "from", "machine or source", "commit or date")
_NAMES = (
    "alternative",
    "arm",
    "name",
    "model",
    "against",
    "measure",
    "at",
    "sweep",
    "schedule",
    "batch_size",
    "family",
)
"""Columns that identify a row that does not come from one record."""


@dataclass(frozen=True, kw_only=True)
class FoundClaim:
    """A claim with the values of its numbers."""

    claim: DocumentClaim
    values: Mapping[str, Value]
    """Values of its numbers by name; empty if what they query is not published."""

    @property
    def sentence(self) -> str:
        """Text of the claim with its numbers, or its `unmeasured` text without them."""
        if not self.values:
            return self.claim.unmeasured
        return sentence_of(self.claim, dict(self.values))


def evaluate_claims(path: Path, results: Path) -> dict[str, FoundClaim]:
    """Return every claim of a file with its values, by name.

    Raises ClaimError if a query finds nothing, or records contradict a claim.
    """
    tables, found = Tables(results, path.parent), {}
    for name, claim in read_claims(path).items():
        if claim.unmeasured and tables.misses(claim):
            found[name] = FoundClaim(claim=claim, values={})
            continue
        try:
            values = look_up(claim, tables)
        except (ClaimError, ReportError) as error:
            raise ClaimError(f"{path}: {error}") from error
        if wrong := broken(claim, values):
            raise ClaimError(f"{path}: {name} no longer holds: {'; '.join(wrong)}. Rewrite the sentence: {claim.text}")
        found[name] = FoundClaim(claim=claim, values=values)
    return found


def fill_documents(root: Path, found: Mapping[str, FoundClaim], *, write: bool) -> list[Path]:
    """Return the documents whose claims differ from what the records say, and correct them if `write` is true.

    Raises ClaimError for a mark without a claim, and for a claim that is in no document.
    """
    sentences = {name: one.sentence for name, one in found.items()}
    texts = {path: path.read_text(encoding="utf-8") for path in documents(root)}
    changed = []
    for path, text in texts.items():
        try:
            now = fill(text, sentences)
        except ClaimError as error:
            raise ClaimError(f"{path}: {error}") from error
        if now != text:
            changed.append(path)
            if write:
                write_whole(path, now.encode())
    if idle := unused(sentences, texts.values()):
        raise ClaimError(
            f"claim {idle[0]!r} is in no document; write <!-- claim: {idle[0]} --><!-- /claim --> where it belongs"
        )
    return changed


def update_claims(root: Path, file: Path, results: Path, *, write: bool = True) -> tuple[int, list[Path]]:
    """Return how many claims hold, and which documents are out of date; `write` updates them.

    The page of sources is one of these documents. Raises ClaimError as `evaluate_claims` and `fill_documents` do.
    """
    found = evaluate_claims(file, results)
    changed = fill_documents(root, found, write=write)
    page, text = file.with_suffix(".md"), sources(found)
    if not page.is_file() or page.read_text(encoding="utf-8") != text:
        changed.append(page)
        if write:
            write_whole(page, text.encode())
    return len(found), changed


def sources(found: Mapping[str, FoundClaim]) -> str:
    """Return a Markdown page of every number in every claim, with its records, machine and commit."""
    parts = ["# Where the numbers of the documents come from", "Written by `python -m bench claims`."]
    for name, one in found.items():
        if not one.values:
            continue
        lines = [
            f"## {name}",
            f"> {one.sentence}",
        ]
        rows = [_source(key, one.claim, value) for key, value in one.values.items()]
        parts += [*lines, markdown_table(_HEADS, rows, words=range(len(_HEADS)))]
    return "\n\n".join(parts) + "\n"


def _source(key: str, claim: DocumentClaim, value: Value) -> tuple[str, ...]:
    number = claim.numbers[key]
    table = next(
        f"{kind} `{source}`{more}"
        for kind, source, more in (
            ("sweep", number.sweep, ""),
            ("ablation", number.ablation, ""),
            ("tuning", number.tuning, ""),
            ("study", number.study, f", {number.table}"),
            ("file", number.file and f"{number.file}.csv", ""),
        )
        if source
    )
    rows = ", ".join(f"`{row}`" for row in _rows(value.rows))
    taken = "" if number.take == "only" else f"{number.take} of "
    where = ", ".join(_words(value.rows, "machine") or _words(value.rows, "source")) or "–"
    when = ", ".join(_words(value.rows, "commit") or _words(value.rows, "date")) or "–"
    return key, value.text(number), f"{taken}`{number.column}` of {table}: {rows}", where, when


def _rows(rows: pd.DataFrame) -> list[str]:
    if "cell" in rows:
        return list(rows["cell"].fillna("quality only"))
    names = [name for name in _NAMES if name in rows]
    shown = [[row[name] for name in names] for _, row in rows.iterrows()]
    return [
        ", ".join(
            f"{value:g}" if isinstance(value, float) else str(value) for value in one if value and pd.notna(value)
        )
        for one in shown
    ]


def _words(rows: pd.DataFrame, column: str) -> list[str]:
    return (
        sorted({str(value)[:12] if column == "commit" else str(value) for value in rows[column].dropna()})
        if column in rows
        else []
    )
