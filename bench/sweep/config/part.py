"""What all parts of a sweep file have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class ConfigPart(BaseModel):
    """A part of a sweep file: strict, frozen, and without unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        allow_inf_nan=False,  # they cannot be part of an id
    )


def as_tuple(value: Any) -> Any:
    """Return a list of the file as a tuple, and anything else as it is, for its type to judge."""
    return tuple(value) if isinstance(value, list) else value
