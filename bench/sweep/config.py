"""What a sweep is made of, and what its parts may say."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bench.sweep.axes import allowed_values, check_schedule, is_gpu_type, option_problem
from bench.sweep.baselines import BASELINES, HOP_SECONDS, SCOPES
from bench.sweep.complaints import as_toml, at, at_path, one_of, unknown_key
from fastast.system.allocator import MemoryPolicy

if TYPE_CHECKING:
    from fastast.data.datasets import DataOptions

MIXED_CLIPS = 1000
"""Clips of a set that is as large as one asks for, where nobody does."""


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        allow_inf_nan=False,  # no id is made of them
    )


class ModelConfig(_Part):
    """What is measured."""

    name: str = "ast_tiny_soundscapes"
    """A name of the zoo, or the path of a checkpoint."""
    frames: int | None = Field(default=None, ge=16)
    """Input length in frames of 10 ms. Not given: the model's own."""
    labels: str = ""
    """Classes of a model whose file does not name them: a file with a name per line in the order of its outputs, or
    `data` where that is the order of the data's classes."""
    activation: str = ""
    """`sigmoid` or `softmax`, where the file does not say the loss that the model was trained with."""
    normalisation: tuple[float, float] | None = None
    """`[mean, std]` of the filterbank that the model was trained with, where the file does not say."""
    geometry: dict[str, int] = {}
    """What a file does not say of its shape, or what one without weights has: `{ num_frames = 312, fstride = 10 }`."""

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


class DataConfig(_Part):
    """What quality is measured on: a data set of `fastast train`, with its own options beside these keys."""

    model_config = ConfigDict(extra="allow")

    dataset: str = "soundscapes"
    """Name of the data set."""
    split: str = "test"
    """`train`, `val` or `test`."""
    clips: int | None = Field(default=None, ge=2)
    """How many: of soundscapes the first, 1,000 if not given; of other sets drawn by the hash of their ids, all if not
    given."""

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
        allowed = [field.name for field in self._fields() if not field.name.endswith("_clips")]
        for key in self.model_extra or {}:
            if key not in allowed:
                raise at_path(key, unknown_key(key, (*type(self).model_fields, *allowed)))
        try:
            self.build()
        except (ValueError, TypeError) as error:
            raise at(None, str(error).removeprefix("data: ")) from None
        return self

    def build(self) -> DataOptions:
        """Return the options of the data set. Raises ValueError for a value that it does not allow."""
        from fastast.data.datasets import get_data_set

        extra = self.model_extra or {}
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in extra.items()}
        sized = f"{self.split}_clips"  # of a set that is as large as one asks for
        if any(field.name == sized for field in self._fields()):
            given[sized] = self.clips or MIXED_CLIPS
        return get_data_set(self.dataset)(**given)

    def _fields(self) -> tuple[dataclasses.Field[Any], ...]:
        from fastast.data.datasets import get_data_set

        return dataclasses.fields(get_data_set(self.dataset))  # type: ignore[arg-type]


class GridConfig(_Part):
    """The axes; the cells are their Cartesian product.

    Any option of the grid's methods is an axis too, such as `metric`; a method that does not have it ignores the axis.
    """

    model_config = ConfigDict(extra="allow")

    schedule: tuple[str, ...] = ("constant",)
    """Families, which every `r` goes into (`constant`, `linear:-0.5`), or schedules in full (`constant:40`,
    `linear:40:-0.5`, `keep:0.9`)."""
    r: tuple[int, ...] = (0,)
    """Mean tokens removed per block; 0 is the unmerged model."""
    method: tuple[str, ...] = ("tome",)
    """Methods that `fastast info` lists."""
    proportional: tuple[bool, ...] = (True,)
    """Whether a token is weighted by its size in attention."""
    combine: tuple[str, ...] = ("method",)
    """How the tokens of a slot become one."""
    place: tuple[str, ...] = ("between",)
    """Where in a block its tokens go: `between` attention and MLP, `before` attention, or `after` the MLP."""
    num_protected: tuple[int, ...] = (-1,)
    """Leading tokens that stay alone; -1 for all prefix tokens."""
    threshold: tuple[float, ...] = (-1.0,)
    """Least cosine at which a pair merges, so that every clip merges its own number, at most the schedule's; -1 for
    exactly the schedule's. Quality alone: speed is timed on noise, whose tokens are less similar than those of real
    sounds."""
    excess: tuple[str, ...] = ("refuse",)
    """Whether an `r` that a block has too few tokens for is refused, or capped as ToMe does."""
    draw: tuple[int, ...] = (-1,)
    """Seeds of what a method draws; -1 for the sweep's `seed`. A method that draws nothing ignores them."""
    stride: tuple[int, ...] = (0,)
    """Steps between patches along both axes, in mel bins and frames; 0 for the model's own. Larger ones make fewer
    tokens: speed-ups and differences are over the unmerged model at its own."""
    length: tuple[str, ...] = ("padded",)
    """Clips shorter than the model's input: `padded`, or run at their `own` length, with fewer tokens. Quality alone;
    differences are over the unmerged model with padding."""
    engine: tuple[str, ...] = ("plain",)
    """What runs the model: `plain` PyTorch; `triton` for `fastast.compile`, which falls back to plain PyTorch where its
    kernels cannot run; `onnxruntime` or `openvino` for an export of the model in that runtime, on a CPU."""
    attention: tuple[str, ...] = ("auto",)
    """Kernels of proportional attention, or `auto` for the fastest here."""
    dtype: tuple[str, ...] = ("float32",)
    """Types that models run in."""
    device: tuple[str, ...] = ("auto",)
    """`auto`, `cpu`, `cuda`, or a type of GPU such as `H100`."""
    batch_size: tuple[int | Literal["best"], ...] = (1,)
    """Clips a batch; `best` searches the one with the highest throughput, for every arm its own."""

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


class MeasureConfig(_Part):
    """How time is measured; see `bench.measure.timing.TimingRule`."""

    scope: str = "forward"
    """`forward`: filterbanks to logits. `waveform`: the front end too. `training_step`: forward, loss, backward and
    optimiser. `stream`: blocks of sound as they come, to the labels of the last window."""
    hop_seconds: float = Field(default=HOP_SECONDS, gt=0)
    """Of the scope `stream`: seconds of sound between one window and the next."""
    baselines: tuple[str, ...] = ("unmerged", "slice")
    """Arms that are timed in the same rounds as the candidate; a cell fails where one of them cannot run."""
    where_installed: tuple[str, ...] = ()
    """Arms that are timed too where what they need is installed and can run; elsewhere the record names them with the
    reason, and the cell does not fail."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of PyTorch; all physical cores that affinity and quota allow where not given."""
    rounds: int = Field(default=10, ge=3)
    """Rounds measured at least, unless `max_seconds` ends them."""
    min_seconds: float = Field(default=2.0, ge=0)
    """Rounds go on until they took this long."""
    max_seconds: float = Field(default=20.0, gt=0)
    """No round starts later than this; five are always made."""
    warmup_window: int = Field(default=3, ge=1)
    """Warm-up compares the median of so many iterations with that of as many before them."""
    warmup_tolerance: float = Field(default=0.05, gt=0)
    """Largest relative difference of the two medians that counts as stable."""
    warmup_iterations: int = Field(default=50, ge=1)
    """Iterations at which the warm-up of an arm ends even where it is not stable."""
    warmup_seconds: float = Field(default=5.0, ge=0)
    """Seconds at which it ends all the same, once the windows were compared five times."""
    noise_limit: float = Field(default=0.1, gt=0)
    """Largest inter-quartile range of the per-round ratio, relative to its median, of a good run."""
    noise_repeats: int = Field(default=2, ge=0)
    """How often a run that is too noisy is measured again."""
    time_limit_s: float = Field(default=600.0, gt=0)
    """A cell that takes longer is ended and recorded as `timeout`."""
    min_samples: int = Field(default=1, ge=1)
    """Rounds go on until every arm has so many samples, or `max_seconds` ends them; a 99th percentile needs 100."""
    flush_caches: bool = False
    """Overwrite the caches before every sample, so that none finds the model there."""
    energy_seconds: float = Field(default=1.0, ge=0)
    """How long every arm runs for its energy where that can be read, in seconds; 0 does not ask."""
    best_batch_limit: int = Field(default=256, ge=1)
    """Largest batch that `batch_size = ["best"]` tries."""
    allocator: MemoryPolicy = "kept"
    """`kept`: freed memory stays with the process. `system`: the allocator gives it back as it sees fit."""
    bound_tolerance: float = Field(default=0.25, ge=0)
    """A speed-up whose whole interval is above its bound by more than this share makes a record implausible."""

    @field_validator("scope")
    @classmethod
    def _known_scope(cls, value: str) -> str:
        return one_of("scope", value, tuple(SCOPES))

    @field_validator("allocator")
    @classmethod
    def _known_allocator(cls, value: str) -> str:
        return one_of("allocator", value, get_args(MemoryPolicy))

    @field_validator("baselines", "where_installed", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("baselines")
    @classmethod
    def _known_baselines(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for i, value in enumerate(values):
            one_of("baseline", value, BASELINES.names(), i)
        if "unmerged" not in values:
            raise PydanticCustomError("denominator", "lacks 'unmerged'; a speed-up needs it as its denominator")
        return tuple(name for name in BASELINES if name in values)

    @field_validator("where_installed")
    @classmethod
    def _known_arms(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for i, value in enumerate(values):
            one_of("baseline", value, BASELINES.names(), i)
        return tuple(name for name in BASELINES if name in values)

    @model_validator(mode="after")
    def _baselines_fit(self) -> MeasureConfig:
        allowed = SCOPES[self.scope]
        for key in ("baselines", "where_installed"):
            for name in getattr(self, key):
                if name not in allowed:
                    alone = name == "model_alone"
                    why = "shows what the front end adds to 'waveform'" if alone else "is a baseline of inference"
                    text = f"{as_toml(name)} {why}; allowed with scope {as_toml(self.scope)}: {', '.join(allowed)}"
                    raise at_path(key, text)
        for name in self.where_installed:
            if name in self.baselines:
                raise at_path("where_installed", f"{as_toml(name)} is in 'baselines' too; write it in one of the two")
        return self

    @model_validator(mode="after")
    def _hop_is_a_streams(self) -> MeasureConfig:
        if self.hop_seconds != HOP_SECONDS and self.scope != "stream":
            raise at_path("hop_seconds", "says how a stream is heard; leave it out, or write scope = 'stream'")
        return self

    @model_validator(mode="after")
    def _order_of_limits(self) -> MeasureConfig:
        if self.min_seconds > self.max_seconds:
            raise PydanticCustomError(
                "limits",
                "min_seconds {low} is more than max_seconds {high}",
                {"low": self.min_seconds, "high": self.max_seconds},
            )
        return self


class SweepConfig(_Part):
    """A whole sweep file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Lower-case name of the folder of its records."""
    seed: int = Field(default=0, ge=0)
    """Of random weights, inputs, bootstraps and methods that draw."""
    kinds: tuple[Literal["performance", "quality"], ...] = ("performance", "quality")
    """What is measured of every point of the grid."""
    model: ModelConfig = ModelConfig()
    """The model, see below."""
    data: DataConfig = Field(default_factory=DataConfig)
    """The data that quality is measured on, see below."""
    grid: GridConfig = Field(default_factory=GridConfig)
    """The axes, see below."""
    exclude: tuple[dict[str, Any], ...] = ()
    """Points of the grid to leave out: `[[exclude]]` tables of axes with a value, or a list of values, each."""
    priority: tuple[dict[str, Any], ...] = ()
    """Points to measure first: those that match the first `[[priority]]` table, then the second, and so on; the rest
    last. No part of a cell's question."""
    measure: MeasureConfig = MeasureConfig()
    """How time is measured, see below."""

    @field_validator("kinds", "exclude", "priority", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

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
                        continue  # what the file's rule is about may be out of the grid now
                    for value in wanted if isinstance(wanted, list) else [wanted]:
                        if value not in present:
                            there = ", ".join(as_toml(item) for item in present)
                            text = f"{as_toml(value)} is not in the grid, which has {there}"
                            raise at_path(f"{name}.{i}.{key}", text)
        return self
