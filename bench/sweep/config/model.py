"""`[model]` of a sweep file: the model that is measured."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import Field, field_validator, model_validator

from bench.sweep.complaints import as_toml, at, at_path, one_of, unknown_key
from bench.sweep.config.part import ConfigPart


class ModelConfig(ConfigPart):
    """The model that is measured."""

    name: str = "ast_tiny_soundscapes"
    """A name of the zoo, or the path of a checkpoint."""
    frames: int | None = Field(default=None, ge=16)
    """Input length in frames of 10 ms. Not given: the model's own."""
    labels: str = ""
    """Classes of a model whose file does not name them: a file with one name per line in the order of the model's
    outputs, or `data` where that is the order of the data's classes."""
    activation: str = ""
    """`sigmoid` or `softmax`, where the file does not say the loss that the model was trained with."""
    normalisation: tuple[float, float] | None = None
    """`[mean, std]` of the filterbank that the model was trained with, where the file does not say."""
    geometry: dict[str, int] = Field(default_factory=dict)
    """Shape of the model as far as its file does not say, or changes to a shape without weights, such as
    `{ num_frames = 312, fstride = 10 }`."""

    @field_validator("normalisation", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        if isinstance(value, list) and len(value) == 2 and all(type(item) in (int, float) for item in value):
            return tuple(float(item) for item in value)
        raise at(None, f"{as_toml(value)} is not [mean, std], such as [-4.27, 4.57]")

    @field_validator("geometry")
    @classmethod
    def _known_fields(cls, value: dict[str, int]) -> dict[str, int]:
        from fastast.geometry import Geometry

        known = [field.name for field in dataclasses.fields(Geometry)]
        for key in value:
            if key not in known:
                raise at_path(key, unknown_key(key, known))
        return value

    @model_validator(mode="before")
    @classmethod
    def _engine_is_an_axis(cls, given: Any) -> Any:
        if isinstance(given, dict) and "engine" in given:
            raise at_path("engine", f"is an axis: write engine = [{as_toml(given['engine'])}] under [grid]")
        return given

    @field_validator("activation")
    @classmethod
    def _known_activation(cls, value: str) -> str:
        from fastast.scores import ACTIVATIONS

        return value and one_of("activation", value, tuple(ACTIVATIONS.values()))
