"""The keys of a sweep file as Markdown, from the types that check them.

`python -m bench.sweep.keys` writes them into `docs/sweeps.md`, between its two marks.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bench.marks import around_marks
from bench.sweep.complaints import as_toml
from bench.sweep.config import DataConfig, GridConfig, MeasureConfig, ModelConfig, SweepConfig

PAGE = Path(__file__).parents[2] / "docs" / "sweeps.md"
MARKS = ("<!-- keys: written by python -m bench.sweep.keys -->", "<!-- end of keys -->")
TABLES: dict[str, type[BaseModel]] = {
    "": SweepConfig,
    "[model]": ModelConfig,
    "[data]": DataConfig,
    "[grid]": GridConfig,
    "[measure]": MeasureConfig,
}
"""Heading of a table in the file -> what may be in it."""


def keys_page() -> str:
    """Return one table of keys per table of the file."""
    parts = []
    for heading, part in TABLES.items():
        title = f"### `{heading}`" if heading else "### At the top of the file"
        lines = [title, "", " ".join((part.__doc__ or "").split()), "", "| key | default | |", "|---|---|---|"]
        for name, field in part.model_fields.items():
            text = " ".join((field.description or "").split()).replace("|", "\\|")
            lines.append(f"| `{name}` | {_default(field)} | {text} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def with_keys(page: str) -> str:
    """Return a page with the keys of now between its marks. Raises ValueError where it has no marks."""
    around = around_marks(page, *MARKS)
    if around is None:
        raise ValueError(f"{PAGE}: the keys must stand once, between {MARKS[0]} and {MARKS[1]}")
    return f"{around[0]}\n{keys_page()}{around[1]}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel):
        return ""
    return f"`{as_toml(value)}`"


if __name__ == "__main__":
    PAGE.write_text(with_keys(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
