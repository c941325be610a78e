"""The keys of a recipe as Markdown, from the dataclasses that check them.

`python -m bench.study.recipe_keys` writes them into `docs/recipes.md`, between its two marks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.marks import around_marks
from fastast.data.augment import Augmentation
from fastast.distill import Distillation
from fastast.reduction import TokenReduction
from fastast.reduction.options import option_docs
from fastast.reduction.spec import FIELDS
from fastast.training.parts import (
    ModelPart,
    NormalisationPart,
    OptimiserPart,
    ReductionPart,
    RunPart,
    SchedulePart,
)
from fastast.training.recipe import DataPart, Recipe

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
MARKS = ("<!-- keys: written by python -m bench.study.recipe_keys -->", "<!-- end of keys -->")
PARTS: dict[str, type] = {
    "": Recipe,
    "[data]": DataPart,
    "[model]": ModelPart,
    "[reduction]": ReductionPart,
    "[normalisation]": NormalisationPart,
    "[optimiser]": OptimiserPart,
    "[schedule]": SchedulePart,
    "[augmentation]": Augmentation,
    "[distillation]": Distillation,
    "[run]": RunPart,
}
"""Heading of a table in the file -> what may be in it."""
_OTHERS = {"options", "shared"}
"""Fields that stand for keys of another class."""


def keys_of(part: type) -> Iterator[tuple[str, str, str]]:
    """Yield the keys of a table of the file, each with its default as TOML and its sentence."""
    tables = {heading.strip("[]") for heading in PARTS}
    docs = option_docs(part)
    for field in dataclasses.fields(part):
        if not (part is Recipe and field.name in tables) and not (part is not ModelPart and field.name in _OTHERS):
            yield field.name, _default(field), docs.get(field.name, "")
    if part is ReductionPart:
        docs = option_docs(TokenReduction)
        shared = [field for field in dataclasses.fields(TokenReduction) if field.name in FIELDS]
        yield from ((field.name, _default(field), docs[field.name]) for field in shared if field.name != "schedule")


def keys_page() -> str:
    """Return one table of keys per table of the file."""
    tables = []
    for heading, part in PARTS.items():
        title = f"### `{heading}`" if heading else "### At the top of the file"
        lines = [title, "", " ".join((part.__doc__ or "").split()), "", "| key | default | |", "|---|---|---|"]
        for name, default, text in keys_of(part):
            lines.append(f"| `{name}` | {default} | {text.replace('|', chr(92) + '|')} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


def with_keys(page: str) -> str:
    """Return a page with the keys of now between its marks. Raises ValueError where it has no marks."""
    around = around_marks(page, *MARKS)
    if around is None:
        raise ValueError(f"{PAGE}: the keys must stand once, between {MARKS[0]} and {MARKS[1]}")
    return f"{around[0]}\n{keys_page()}{around[1]}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "" if field.default_factory is not dataclasses.MISSING else "required"
    value = field.default
    if value is None or value == () or value == "":
        return ""
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{_as_toml(value)}`"


def _as_toml(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return f"[{', '.join(map(_as_toml, value))}]" if isinstance(value, tuple) else f"{value}"


if __name__ == "__main__":
    PAGE.write_text(with_keys(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
