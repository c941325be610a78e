"""Markdown tables of the keys of sweep, study and recipe files, from the types that check these files.

`python -m bench.keys` writes them into their pages in `docs`, between two marks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bench.marks import around_marks
from bench.study.study_file import Claim, Contrast, Study, StudyArm
from bench.sweep.complaints import as_toml
from bench.sweep.config import DataConfig, GridConfig, MeasureConfig, ModelConfig, SweepConfig
from fastast.data.augment import Augmentation
from fastast.data.soundscapes.training import Soundscapes
from fastast.distill import Distillation
from fastast.reduction import TokenReduction
from fastast.reduction.options import option_docs
from fastast.reduction.spec import FIELDS
from fastast.training.recipe.parts.data import DataPart
from fastast.training.recipe.parts.model import ModelPart
from fastast.training.recipe.parts.normalisation import NormalisationPart
from fastast.training.recipe.parts.optimiser import OptimiserPart
from fastast.training.recipe.parts.reduction import ReductionPart
from fastast.training.recipe.parts.run import RunPart
from fastast.training.recipe.parts.schedule import SchedulePart
from fastast.training.recipe.recipe import Recipe

DOCS = Path(__file__).parents[1] / "docs"
MARKS = ("<!-- keys: written by python -m bench.keys -->", "<!-- end of keys -->")
PAGES: Mapping[str, Mapping[str, type]] = {
    "sweeps.md": {
        "": SweepConfig,
        "[model]": ModelConfig,
        "[data]": DataConfig,
        "[grid]": GridConfig,
        "[measure]": MeasureConfig,
    },
    "study_files.md": {"": Study, "[[arms]]": StudyArm, "[[contrasts]]": Contrast, "[claim]": Claim},
    "recipes.md": {
        "": Recipe,
        "[data]": DataPart,
        '[data], name = "soundscapes"': Soundscapes,
        "[model]": ModelPart,
        "[reduction]": ReductionPart,
        "[normalisation]": NormalisationPart,
        "[optimiser]": OptimiserPart,
        "[schedule]": SchedulePart,
        "[augmentation]": Augmentation,
        "[distillation]": Distillation,
        "[run]": RunPart,
    },
}
"""Page -> heading of a table in the file -> type that defines the table's keys."""
_TABLES = {Study: {"arms", "contrasts", "claim"}, DataPart: {"options"}, ReductionPart: {"shared"}}
_TABLES |= {Recipe: {heading.strip("[]") for heading in PAGES["recipes.md"]}}
"""Fields left out: they are tables of their own, or placeholders for the keys of another type."""


def keys_of(part: type) -> Iterator[tuple[str, str, str]]:
    """Yield the keys of a table of a file, each with its default in TOML and its description."""
    found = _of_model(part) if issubclass(part, BaseModel) else _of_dataclass(part)
    yield from ((name, default, text) for name, default, text in found if name not in _TABLES.get(part, ()))


def _of_model(part: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    for name, field in part.model_fields.items():
        yield name, _default(field), field.description or ""


def _of_dataclass(part: type) -> Iterator[tuple[str, str, str]]:
    docs, fields = option_docs(part), list(dataclasses.fields(part))
    if part is ReductionPart:
        docs = option_docs(TokenReduction) | docs
        fields += [field for field in dataclasses.fields(TokenReduction) if field.name in set(FIELDS) - {"schedule"}]
    for field in fields:
        yield field.name, _default(field), docs.get(field.name, "")


def keys_page(tables: Mapping[str, type]) -> str:
    """Return Markdown with one table of keys per table of the file."""
    parts = []
    for heading, part in tables.items():
        title = f"### `{heading}`" if heading else "### At the top of the file"
        lines = [title, "", " ".join((part.__doc__ or "").split()), "", "| key | default | |", "|---|---|---|"]
        for name, default, text in keys_of(part):
            lines.append(f"| `{name}` | {default} | {' '.join(text.split()).replace('|', chr(92) + '|')} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def with_keys(page: str, name: str) -> str:
    """Return a page with the current keys between its marks. Raises ValueError unless it has the marks, once."""
    around = around_marks(page, *MARKS)
    if around is None:
        raise ValueError(f"docs/{name}: the keys must be there once, between {MARKS[0]} and {MARKS[1]}")
    return f"{around[0]}\n{keys_page(PAGES[name])}{around[1]}"


def _default(field: FieldInfo | dataclasses.Field[Any]) -> str:
    if isinstance(field, FieldInfo):
        if field.is_required():
            return "required"
        value = field.get_default(call_default_factory=True)
        return "" if value is None or isinstance(value, BaseModel) else f"`{as_toml(value)}`"
    if field.default is dataclasses.MISSING:
        return "" if field.default_factory is not dataclasses.MISSING else "required"
    return "" if field.default in (None, "", ()) else f"`{as_toml(field.default)}`"


if __name__ == "__main__":
    for name in PAGES:
        path = DOCS / name
        path.write_text(with_keys(path.read_text(encoding="utf-8"), name), encoding="utf-8")
