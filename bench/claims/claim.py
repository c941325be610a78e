"""A claims file: sentences, with the query that each of their numbers comes from."""

from __future__ import annotations

import re
import string
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.claims.condition import Condition

Take = Literal["only", "min", "max", "mean", "count", "list"]


class ClaimError(ValueError):
    """A claim cannot be read, lacks its numbers, or does not hold."""


class Quantity(BaseModel):
    """A number in a sentence: a column of a table, in some of its rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sweep: str | None = None
    """Sweep whose joined records are the table."""
    study: str | None = None
    """Study whose trainings are the table."""
    ablation: str | None = None
    """Sweep of alternatives whose numbers (`ablation.csv` of its report) are the table."""
    tuning: str | None = None
    """Name of an answer of `fastast tune` in `results/tuning`, whose rows are the table."""
    file: str | None = None
    """CSV file beside the claims, without suffix: what others published, readings by hand, or replaced records."""
    table: Literal["arms", "families", "progress", "times"] = "arms"
    """Table of the study. `progress`: every validation, by clips and seconds of training. `times`: seconds after which
    each training is as good as the reference at its end."""
    column: str
    """Column of the table."""
    where: dict[str, str | float | bool | list[str | float]] = {}
    """Conditions that select rows, by column: a value, a list of values, a comparison such as `">= 20"` or `"!= none"`
    (numerical for numbers, and never true for a missing value), `"missing"` for rows without a value, or `"largest"`
    for those with the largest value among the rows that values leave, before anything is compared."""
    take: Take = "only"
    """How several rows give one number; `only` refuses more or fewer than one, `list` writes the names of all."""
    name: str = ""
    """Column whose text is written instead of the number: the name of the row that was taken, or of all."""
    lead: str = ""
    """Text before a list of names; where there are none, nothing is written, not even this text."""
    words: tuple[str, str, str] | None = None
    """Texts written instead of the number if its interval is below zero, includes zero, or is above zero."""
    times: float = 1.0
    """Factor, such as 100 for a percentage."""
    form: Annotated[str, Field(pattern=r"^\{:[+]?(\.\d)?[fg]\}$")] = "{:.2f}"
    """Format of the number."""
    interval: bool = False
    """Whether to write the 95 % interval too; in a list, every name has its number with interval, largest first."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.sweep, self.study, self.ablation, self.tuning, self.file)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("needs one of sweep, study, ablation, tuning and file")
        if self.take == "list" and not self.name:
            raise ValueError("takes a list, but does not say of what; set name to a column")
        if self.lead and self.take != "list":
            raise ValueError(f"has a lead, which goes before a list, but takes {self.take!r}")
        if self.words is not None and self.take != "only":
            raise ValueError(f"has words, which need the interval of a single row, but takes {self.take!r}")
        if self.interval and self.take not in ("only", "list"):
            raise ValueError(f"has an interval, which needs a single row or a list, but takes {self.take!r}")
        return self


class DocumentClaim(BaseModel):
    """A sentence, or part of one, in a document, with numbers that are filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Name between the marks of the documents."""
    text: str
    """Sentence, with `{NAME}` in place of its numbers."""
    numbers: dict[str, Quantity]
    """Its numbers, by name; those that the sentence does not print are for `holds`."""
    holds: tuple[str, ...] = ()
    """Conditions for the sentence to be true: `NUMBER < NUMBER`, with `.low` and `.high` for ends of intervals."""
    unmeasured: str = ""
    """Text in the document as long as a sweep of alternatives or a tuning that it queries is not published; if empty,
    that is an error."""

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        printed = {field for _, field, _, _ in string.Formatter().parse(self.text) if field is not None}
        asked = printed | {name for text in self.holds for name in Condition.parse(text).names}
        if unknown := sorted(asked - set(self.numbers)):
            raise ValueError(f"names {unknown[0]!r}; its numbers are: {', '.join(sorted(self.numbers))}")
        if idle := sorted(set(self.numbers) - asked):
            raise ValueError(f"has the number {idle[0]!r} but does not use it")
        if re.search(r"\d[.,]\d", re.sub(r"\{[^}]*\}", "", self.text)):
            raise ValueError("has a number typed in; every number must come from a query")
        return self


def read_claims(path: Path) -> dict[str, DocumentClaim]:
    """Return the claims of a TOML file by name. Raises ClaimError with file, claim and key if one is invalid."""
    try:
        entries: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ClaimError(f"{path}: cannot be read: {error}") from error
    found = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise ClaimError(f"{path}: {name} = {entry!r} is not a claim; write [{name}] with text and numbers")
        try:
            found[name] = DocumentClaim(name=name, **{key: value for key, value in entry.items() if key != "name"})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in (name, *first["loc"]))
            reason = first["msg"].removeprefix("Value error, ")
            raise ClaimError(f"{path}: {key}: {reason}") from error
    return found
