"""`[data]` of a sweep file: what quality is measured on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from bench.sweep.complaints import at, at_path, one_of, unknown_key
from bench.sweep.config.part import ConfigPart, as_tuple

if TYPE_CHECKING:
    from fastast.data.datasets import DataOptions

MIXED_CLIPS = 1000
"""Default number of clips for a data set that is mixed to any size."""


class DataConfig(ConfigPart):
    """What quality is measured on: a data set of `fastast train`, with that set's own options besides these keys."""

    model_config = ConfigDict(extra="allow")

    dataset: str = "soundscapes"
    """Name of the data set."""
    split: str = "test"
    """`train`, `val` or `test`."""
    clips: int | None = Field(default=None, ge=2)
    """Number of clips. Of soundscapes the first, by default 1,000; of other sets drawn by the hash of their ids, by
    default all."""

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, value: str) -> str:
        from fastast.data.datasets import DATASETS

        return one_of("data set", value, DATASETS.names())

    @field_validator("split")
    @classmethod
    def _known_split(cls, value: str) -> str:
        return one_of("split", value, ("train", "val", "test"))

    @model_validator(mode="after")
    def _options_fit(self) -> DataConfig:
        allowed = {field.name: field for field in self._fields() if not field.name.endswith("_clips")}
        for key in self.model_extra or {}:
            if key not in allowed:
                meant = "clips" if key.endswith("_clips") else key  # the key of a recipe
                raise at_path(key, unknown_key(meant, (*type(self).model_fields, *allowed)))
            splits = allowed[key].metadata.get("splits", (self.split,))
            if self.split not in splits:
                raise at_path(key, f"it changes only clips of {' and '.join(splits)}, not of {self.split}; delete it")
        try:
            self.build()
        except (ValueError, TypeError) as error:
            raise at(None, str(error).removeprefix("data: ")) from None
        return self

    def build(self) -> DataOptions:
        """Return the options of the data set. Raises ValueError for a value that it does not allow."""
        from fastast.data.datasets import get_data_set

        extra = self.model_extra or {}
        given = {key: as_tuple(value) for key, value in extra.items()}
        sized = f"{self.split}_clips"  # of a set that is mixed to any size
        if any(field.name == sized for field in self._fields()):
            given[sized] = self.clips or MIXED_CLIPS
        return get_data_set(self.dataset)(**given)

    def _fields(self) -> tuple[dataclasses.Field[Any], ...]:
        from fastast.data.datasets import get_data_set

        return dataclasses.fields(get_data_set(self.dataset))  # type: ignore[arg-type]
