"""`[grid]` of a sweep file: the axes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bench.sweep.axes import allowed_values, check_schedule, is_gpu_type, option_problem
from bench.sweep.complaints import as_toml, at, at_path, one_of, unknown_key
from bench.sweep.config.part import ConfigPart


class GridConfig(ConfigPart):
    """The axes; the cells are their Cartesian product.

    Any option of the grid's methods is an axis too, such as `metric`; a method that does not have it ignores the axis.
    """

    model_config = ConfigDict(extra="allow")

    schedule: tuple[str, ...] = ("constant",)
    """Families, which are combined with every `r` (`constant`, `linear:-0.5`), or complete schedules (`constant:40`,
    `linear:40:-0.5`, `keep:0.9`)."""
    r: tuple[int, ...] = (0,)
    """Mean tokens removed per block; 0 is the unmerged model."""
    method: tuple[str, ...] = ("tome",)
    """Methods that `fastast info` lists."""
    proportional: tuple[bool, ...] = (True,)
    """Weight a token by its size in attention."""
    combine: tuple[str, ...] = ("method",)
    """How merged tokens become one: `method` (the method's own way), `size` (mean weighted by size), `mean`, `norm` (as
    `size`, scaled to the norm of the longest), or `keep` (one of them alone)."""
    place: tuple[str, ...] = ("between",)
    """Where in a block tokens are removed: `between` attention and MLP, `before` attention, or `after` the MLP."""
    num_protected: tuple[int, ...] = (-1,)
    """Number of leading tokens that are kept and never merged; -1 for all prefix tokens."""
    threshold: tuple[float, ...] = (-1.0,)
    """Smallest cosine similarity at which a pair merges, so that every clip merges its own number of tokens, at most
    the schedule's; -1 for exactly the schedule's. Quality only: speed is timed on noise, whose tokens are less similar
    than those of real sounds."""
    excess: tuple[str, ...] = ("refuse",)
    """What to do where a block has too few tokens for `r`: `refuse` the sweep, or `cap` the block's `r` as ToMe
    does."""
    draw: tuple[int, ...] = (-1,)
    """Seeds for everything a method draws at random; -1 for the sweep's `seed`. A method that draws nothing ignores
    them."""
    stride: tuple[int, ...] = (0,)
    """Steps between patches along both axes, in mel bins and frames; 0 for the model's own. Larger ones make fewer
    tokens; speed-ups and differences are relative to the unmerged model at its own stride."""
    length: tuple[str, ...] = ("padded",)
    """Clips shorter than the model's input: `padded`, or run at their `own` length, with fewer tokens. Quality only;
    differences are relative to the unmerged model with padding."""
    engine: tuple[str, ...] = ("plain",)
    """What runs the model: `plain` PyTorch; `triton` for `fastast.compile`, which falls back to plain PyTorch where its
    kernels cannot run; `onnxruntime` or `openvino` for an export of the model in that runtime, on a CPU."""
    attention: tuple[str, ...] = ("auto",)
    """Kernels of proportional attention, or `auto` for the fastest on the machine."""
    dtype: tuple[str, ...] = ("float32",)
    """Types that the model runs in: `float32`, `bfloat16`, `float16` or `int8`."""
    device: tuple[str, ...] = ("auto",)
    """`auto`, `cpu`, `cuda`, or a type of GPU such as `H100`."""
    batch_size: tuple[int | Literal["best"], ...] = (1,)
    """Clips per batch; `best` searches for the size with the highest throughput, separately for every arm."""

    @field_validator("*", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return cls._values(value)

    @property
    def options(self) -> dict[str, tuple[Any, ...]]:
        """The axes that are options of methods."""
        return dict(self.model_extra or {})

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """Every axis with its values."""
        return {name: getattr(self, name) for name in type(self).model_fields} | self.options

    @model_validator(mode="after")
    def _options_of_methods(self) -> GridConfig:
        from fastast.reduction import get_method
        from fastast.reduction.options import option_types

        known = [name for method in self.method for name in option_types(get_method(method).options)]
        for i, method in enumerate(self.method):
            for name in option_types(get_method(method).options):
                if name in (*type(self).model_fields, "kind"):
                    text = f"its option {as_toml(name)} has the name of an axis; rename the option"
                    raise at_path(f"method.{i}", f"{as_toml(method)}: {text}")
        for name, given in self.options.items():
            if name not in known:
                raise at_path(name, unknown_key(name, (*type(self).model_fields, *dict.fromkeys(known))))
            try:
                values = self._values(given)
            except PydanticCustomError as error:
                raise at_path(name, error.message()) from None
            for i, value in enumerate(values):
                if problem := option_problem(self.method, name, value):
                    raise at_path(f"{name}.{i}", problem)
            assert self.model_extra is not None
            self.model_extra[name] = values
        return self

    @classmethod
    def _values(cls, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise PydanticCustomError(
                "not_a_list", "must be a list of values, such as [{got}]", {"got": as_toml(value)}
            )
        if not value:
            raise PydanticCustomError("empty", "is empty; give at least one value, or leave the key out")
        for i, item in enumerate(value):
            if item in value[:i] and type(item) is type(value[value.index(item)]):
                raise PydanticCustomError("twice", "has {got} twice; give every value once", {"got": as_toml(item)})
        return tuple(value)

    @field_validator("batch_size", mode="before")
    @classmethod
    def _whole_or_best(cls, value: Any) -> Any:
        for i, item in enumerate(value if isinstance(value, list | tuple) else ()):
            if item != "best" and (not isinstance(item, int) or isinstance(item, bool)):
                raise at(i, f"{as_toml(item)} is neither a whole number nor 'best'")
        return value

    @field_validator("schedule")
    @classmethod
    def _schedules(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for i, value in enumerate(values):
            check_schedule(value, i)
        return values

    @field_validator("r", "batch_size", "num_protected", "draw", "stride")
    @classmethod
    def _counts(cls, values: tuple[int | str, ...], info: Any) -> tuple[int | str, ...]:
        least = {"r": 0, "batch_size": 1, "num_protected": -1, "draw": -1, "stride": 0}[info.field_name]
        for i, value in enumerate(values):
            if isinstance(value, int) and value < least:
                raise at(i, f"is {value}; it must be a whole number of at least {least}")
        return values

    @field_validator("threshold")
    @classmethod
    def _cosines(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        for i, value in enumerate(values):
            if not -1 <= value <= 1:
                raise at(i, f"is {value:g}; give a cosine above -1 and up to 1, or -1 for no threshold")
        return values

    @field_validator("method", "combine", "place", "excess", "length", "engine", "attention", "dtype", "device")
    @classmethod
    def _names(cls, values: tuple[str, ...], info: Any) -> tuple[str, ...]:
        for i, value in enumerate(values):
            if info.field_name != "device" or not is_gpu_type(value):
                one_of(info.field_name, value, allowed_values(info.field_name), i)
        return values
