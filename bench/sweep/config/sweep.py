"""A sweep file as a whole, and how its parts must fit each other."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bench.sweep.complaints import as_toml, at_path, unknown_key
from bench.sweep.config.data import DataConfig
from bench.sweep.config.grid import GridConfig
from bench.sweep.config.measure import MeasureConfig
from bench.sweep.config.model import ModelConfig
from bench.sweep.config.part import ConfigPart, as_tuple


class SweepConfig(ConfigPart):
    """A whole sweep file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Name of the sweep and of the folder of its records, in lower case."""
    seed: int = Field(default=0, ge=0)
    """Seed for random weights, inputs, bootstraps and methods that draw."""
    kinds: tuple[Literal["performance", "quality"], ...] = ("performance", "quality")
    """What is measured at every point of the grid."""
    model: ModelConfig = ModelConfig()
    """The model, see below."""
    data: DataConfig = Field(default_factory=DataConfig)
    """The data that quality is measured on, see below."""
    grid: GridConfig = Field(default_factory=GridConfig)
    """The axes, see below."""
    exclude: tuple[dict[str, Any], ...] = ()
    """Points of the grid to leave out: `[[exclude]]` tables of axes, each with a value or a list of values."""
    priority: tuple[dict[str, Any], ...] = ()
    """Points to measure first: those that match the first `[[priority]]` table, then the second, and so on; the rest
    last. Not part of a cell's question."""
    measure: MeasureConfig = MeasureConfig()
    """How time is measured, see below."""

    _lists = field_validator("kinds", "exclude", "priority", mode="before")(as_tuple)

    @field_validator("kinds")
    @classmethod
    def _some_kind(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if not values:
            raise PydanticCustomError("empty", "is empty; give performance, quality or both")
        return values

    @model_validator(mode="after")
    def _scope_fits(self) -> SweepConfig:
        if self.measure.scope == "training_step" and "quality" in self.kinds:
            raise at_path("kinds", 'a training step has no quality; write kinds = ["performance"]')
        if self.measure.scope == "stream" and self.grid.batch_size != (1,):
            raise at_path("grid.batch_size", "a stream is heard one window at a time; write batch_size = [1]")
        return self

    @model_validator(mode="after")
    def _rules_fit(self, info: ValidationInfo) -> SweepConfig:
        axes = (*self.grid.axes, "kind")
        overridden = {override.partition("=")[0].strip() for override in info.context or ()}
        for name, rules in (("exclude", self.exclude), ("priority", self.priority)):
            for i, rule in enumerate(rules):
                for key, wanted in rule.items():
                    if key not in axes:
                        raise at_path(f"{name}.{i}.{key}", unknown_key(key, axes))
                    present = self.kinds if key == "kind" else self.grid.axes[key]
                    if overridden & {"kinds" if key == "kind" else f"grid.{key}", "grid"}:
                        continue  # the grid may no longer have what the file's rule is about
                    for value in wanted if isinstance(wanted, list) else [wanted]:
                        if value not in present:
                            there = ", ".join(as_toml(item) for item in present)
                            text = f"{as_toml(value)} is not in the grid, which has {there}"
                            raise at_path(f"{name}.{i}.{key}", text)
        return self
