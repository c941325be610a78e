"""A claims file: sentences, and where each of their numbers comes from."""

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
    """A claim that cannot be read, has no numbers, or does not hold."""


class Quantity(BaseModel):
    """A number of a sentence: a column of a table, in some of its rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sweep: str | None = None
    """Sweep whose joined records are the table."""
    study: str | None = None
    """Study whose trainings are the table."""
    ablation: str | None = None
    """Sweep of alternatives whose numbers (`ablation.csv` of its report) are the table."""
    tuning: str | None = None
    """Answer of `fastast tune` in `results/tuning`, by its name, whose rows are the table."""
    file: str | None = None
    """CSV file beside the claims, without its ending: what others published, readings by hand, replaced records."""
    table: Literal["arms", "families", "times"] = "arms"
    """Which table of the study; `times`: when each training is as good as the reference at its end, s."""
    column: str
    """Column of the table."""
    where: dict[str, str | float | bool | list[str | float]] = {}
    """Rows, by column: a value, several, a comparison such as `">= 20"` or `"!= none"` (of numbers by number, and never
    true of a missing value), `"missing"`: those without a value, or `"largest"`: those of the largest value among the
    rows that values leave, before anything is compared."""
    take: Take = "only"
    """What becomes of several rows; `only` refuses more or fewer than one, `list` writes the names of all."""
    name: str = ""
    """Column whose text is written in place of the number: the name of the row that was taken, or of all."""
    words: tuple[str, str, str] | None = None
    """What is written in place of the number: where its interval is below zero, holds zero, is above zero."""
    times: float = 1.0
    """Factor, such as 100 for a percentage."""
    form: Annotated[str, Field(pattern=r"^\{:[+]?(\.\d)?[fg]\}$")] = "{:.2f}"
    """How it is written."""
    interval: bool = False
    """Whether its 95 % interval is written too; of a list, each name's number with its interval, the largest first."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.sweep, self.study, self.ablation, self.tuning, self.file)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("needs one of sweep, study, ablation, tuning and file")
        if self.take == "list" and not self.name:
            raise ValueError("takes a list, and does not say whose: name = a column")
        if self.words is not None and self.take != "only":
            raise ValueError(f"has words for the interval of one row only, and takes {self.take!r}")
        if self.interval and self.take not in ("only", "list"):
            raise ValueError(f"has an interval of one row, or of each in a list, and takes {self.take!r}")
        return self


class DocumentClaim(BaseModel):
    """A sentence, or part of one, that stands in a document as its numbers make it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Name between the marks of the documents."""
    text: str
    """The sentence, with `{NAME}` for its numbers."""
    numbers: dict[str, Quantity]
    """Its numbers, by name; one that the sentence does not print may serve in `holds`."""
    holds: tuple[str, ...] = ()
    """What must be so for the sentence to be true: `NUMBER < NUMBER`, with `.low` and `.high` for ends of intervals."""
    unmeasured: str = ""
    """What stands in the document as long as a sweep or tuning that it asks has no records; without it, they must be
    there."""

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        printed = {field for _, field, _, _ in string.Formatter().parse(self.text) if field is not None}
        asked = printed | {name for text in self.holds for name in Condition.parse(text).names}
        if unknown := sorted(asked - set(self.numbers)):
            raise ValueError(f"names {unknown[0]!r}; its numbers are: {', '.join(sorted(self.numbers))}")
        if idle := sorted(set(self.numbers) - asked):
            raise ValueError(f"has the number {idle[0]!r} and uses it nowhere")
        if re.search(r"\d[.,]\d", re.sub(r"\{[^}]*\}", "", self.text)):
            raise ValueError("has a figure typed in; every one comes from a query")
        return self


def read_claims(path: Path) -> dict[str, DocumentClaim]:
    """Return the claims of a TOML file by name. Raises ClaimError, with file, claim and key, for what is no claim."""
    try:
        entries: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ClaimError(f"{path}: cannot be read: {error}") from error
    found = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise ClaimError(f"{path}: {name} = {entry!r} is no claim; write [{name}] with text and numbers")
        try:
            found[name] = DocumentClaim(name=name, **{key: value for key, value in entry.items() if key != "name"})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in (name, *first["loc"]))
            reason = first["msg"].removeprefix("Value error, ")
            raise ClaimError(f"{path}: {key}: {reason}") from error
    return found
