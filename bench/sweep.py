"""A sweep file: what it may say, and every complaint about it before anything runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

SWEEPS = Path(__file__).parent / "sweeps"
"""The sweeps that come with the repository; `default` is short for `bench/sweeps/default.toml`."""

FAMILIES = ("constant", "decreasing", "increasing", "linear:INFLECTION")
"""Schedules that `r` goes into."""
WHOLE = ("keep:RATIO", "speedup:X[:INFLECTION]", "list:R1,R2,...")
"""Schedules without an `r`."""
BASELINES = ("unmerged", "slice", "tome_plain", "timm", "timm_compiled", "hf", "model_alone")
"""See `bench.baselines`; new ones go to the end, as their order is part of a cell's identity."""
SCOPES: dict[str, tuple[str, ...]] = {
    "forward": tuple(name for name in BASELINES if name != "model_alone"),
    "waveform": BASELINES,
    "training_step": ("unmerged", "slice", "timm"),
}
"""What can be timed, each with the baselines that can be timed so; see `MeasureConfig.scope`."""
ENGINES = ("plain", "triton")
"""What runs the candidate and its own baselines: the model's forward in plain PyTorch, or `fastast.compile`."""
DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda")
"""Beside these, a GPU type as Ray spells it, such as `H100` or `RTX-A6000`; whether it is there is seen later."""


class ConfigError(ValueError):
    """A sweep that cannot run; `problems` has one line for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class ModelConfig(_Part):
    """What is measured."""

    name: str = "ast_tiny_soundscapes"
    """A name of the zoo, or the path of a checkpoint."""
    frames: int | None = Field(default=None, ge=16)
    """Input length in frames of 10 ms, where not the model's own."""
    engine: str = "plain"
    """`plain`, or `triton` for `fastast.compile`, which falls back to plain PyTorch where its kernels cannot run."""

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        return _one_of("engine", value, ENGINES)


class DataConfig(_Part):
    """What quality is measured on."""

    dataset: str = "soundscapes"
    split: str = "test"
    clips: int = Field(default=1000, ge=2)
    """The first so many clips of the split."""
    seconds: float = Field(default=5.0, gt=0)
    """Length of a clip."""

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, value: str) -> str:
        return _one_of("data set", value, ("soundscapes",))

    @field_validator("split")
    @classmethod
    def _known_split(cls, value: str) -> str:
        return _one_of("split", value, ("train", "val", "test"))


class GridConfig(_Part):
    """The axes; the cells are their Cartesian product."""

    schedule: tuple[str, ...] = ("constant",)
    r: tuple[int, ...] = (0,)
    method: tuple[str, ...] = ("tome",)
    metric: tuple[str, ...] = ("keys",)
    proportional: tuple[bool, ...] = (True,)
    order: tuple[str, ...] = ("tome",)
    excess: tuple[str, ...] = ("refuse",)
    """Whether an `r` that a block has too few tokens for is refused, or capped as ToMe does."""
    attention: tuple[str, ...] = ("auto",)
    dtype: tuple[str, ...] = ("float32",)
    device: tuple[str, ...] = ("auto",)
    batch_size: tuple[int | Literal["best"], ...] = (1,)
    """Clips a batch; `best` searches the one with the highest throughput, for every arm its own."""

    @field_validator("*", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise PydanticCustomError("not_a_list", "must be a list of values, such as [{got}]", {"got": _toml(value)})
        if not value:
            raise PydanticCustomError("empty", "is empty; give at least one value, or leave the key out")
        for i, item in enumerate(value):
            if item in value[:i] and type(item) is type(value[value.index(item)]):
                raise PydanticCustomError("twice", "has {got} twice; give every value once", {"got": _toml(item)})
        return tuple(value)

    @field_validator("batch_size", mode="before")
    @classmethod
    def _whole_or_best(cls, value: Any) -> Any:
        for i, item in enumerate(value if isinstance(value, list | tuple) else ()):
            if item != "best" and (not isinstance(item, int) or isinstance(item, bool)):
                raise _at(i, f"{_toml(item)} is neither a whole number nor 'best'")
        return value

    @field_validator("schedule")
    @classmethod
    def _schedules(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for i, value in enumerate(values):
            _check_schedule(value, i)
        return values

    @field_validator("r", "batch_size")
    @classmethod
    def _counts(cls, values: tuple[int | str, ...], info: Any) -> tuple[int | str, ...]:
        least = 0 if info.field_name == "r" else 1
        for i, value in enumerate(values):
            if isinstance(value, int) and value < least:
                raise _at(i, f"is {value}; it must be a whole number of at least {least}")
        return values

    @field_validator("method", "metric", "order", "excess", "attention", "dtype", "device")
    @classmethod
    def _names(cls, values: tuple[str, ...], info: Any) -> tuple[str, ...]:
        for i, value in enumerate(values):
            if info.field_name != "device" or not _is_gpu_type(value):
                _one_of(info.field_name, value, _allowed(info.field_name), i)
        return values


class MeasureConfig(_Part):
    """How time is measured; see `bench.timing.TimingRule`."""

    scope: str = "forward"
    """`forward`: filterbanks to logits. `waveform`: the front end too. `training_step`: forward, loss, backward and
    optimiser."""
    baselines: tuple[str, ...] = ("unmerged", "slice")
    """Arms that are timed in the same rounds as the candidate."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of PyTorch; all physical cores where not given."""
    rounds: int = Field(default=10, ge=3)
    min_seconds: float = Field(default=2.0, ge=0)
    max_seconds: float = Field(default=20.0, gt=0)
    warmup_window: int = Field(default=3, ge=1)
    warmup_tolerance: float = Field(default=0.05, gt=0)
    warmup_iterations: int = Field(default=50, ge=1)
    warmup_seconds: float = Field(default=5.0, ge=0)
    noise_limit: float = Field(default=0.1, gt=0)
    noise_repeats: int = Field(default=2, ge=0)
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
    bound_tolerance: float = Field(default=0.25, ge=0)
    """A speed-up whose whole interval is above its bound by more than this share makes a record implausible."""

    @field_validator("scope")
    @classmethod
    def _known_scope(cls, value: str) -> str:
        return _one_of("scope", value, tuple(SCOPES))

    @field_validator("baselines", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("baselines")
    @classmethod
    def _known_baselines(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for i, value in enumerate(values):
            _one_of("baseline", value, BASELINES, i)
        if "unmerged" not in values:
            raise PydanticCustomError("denominator", "lacks 'unmerged'; a speed-up needs it as its denominator")
        return tuple(name for name in BASELINES if name in values)

    @model_validator(mode="after")
    def _baselines_fit(self) -> MeasureConfig:
        allowed = SCOPES[self.scope]
        for name in self.baselines:
            if name not in allowed:
                alone = name == "model_alone"
                why = "shows what the front end adds to 'waveform'" if alone else "is a baseline of inference"
                text = f"{_toml(name)} {why}; allowed with scope {_toml(self.scope)}: {', '.join(allowed)}"
                raise _at_path("baselines", text)
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
    kinds: tuple[Literal["performance", "quality"], ...] = ("performance", "quality")
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    grid: GridConfig = GridConfig()
    exclude: tuple[dict[str, Any], ...] = ()
    measure: MeasureConfig = MeasureConfig()

    @field_validator("kinds", "exclude", mode="before")
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
    def _engine_fits(self) -> SweepConfig:
        if self.model.engine == "plain":
            return self
        for i, kernel in enumerate(self.grid.attention):
            if kernel != "auto":
                text = f"{_toml(kernel)}: the engine {_toml(self.model.engine)} has its own attention; allowed: auto"
                raise _at_path(f"grid.attention.{i}", text)
        return self

    @model_validator(mode="after")
    def _scope_fits(self) -> SweepConfig:
        if self.measure.scope == "training_step" and "quality" in self.kinds:
            raise _at_path("kinds", 'a training step has no quality; write kinds = ["performance"]')
        return self

    @model_validator(mode="after")
    def _excludes_fit(self) -> SweepConfig:
        axes = (*GridConfig.model_fields, "kind")
        for i, rule in enumerate(self.exclude):
            for key, wanted in rule.items():
                if key not in axes:
                    raise _at_path(f"exclude.{i}.{key}", unknown_key(key, axes))
                present = self.kinds if key == "kind" else getattr(self.grid, key)
                for value in wanted if isinstance(wanted, list) else [wanted]:
                    if value not in present:
                        there = ", ".join(_toml(item) for item in present)
                        raise _at_path(f"exclude.{i}.{key}", f"{_toml(value)} is not in the grid, which has {there}")
        return self


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read and check a sweep file.

    `overrides` are `key=value` in TOML, such as `grid.r=[4]`. Raises ConfigError with file, key, value and
    what is allowed, one line a problem.
    """
    shown = str(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in SWEEPS.glob("*.toml")))
        raise ConfigError([f"{shown}: no such file; give a TOML file or one of: {known}"]) from None
    except OSError as error:
        raise ConfigError([f"{shown}: cannot be read: {error.strerror}"]) from None
    try:
        raw = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ConfigError([f"{shown}: not UTF-8 text (byte {error.start})"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{shown}: not valid TOML: {error}"]) from None
    for override in overrides:
        _apply_override(raw, override)
    try:
        return SweepConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([_explain(shown, problem, overrides) for problem in error.errors()]) from None


def find_sweep(name: str) -> Path:
    """Return the path of a sweep given by path or by the name of one in `bench/sweeps`."""
    embedded = SWEEPS / f"{name}.toml"
    if not (re.fullmatch(r"[\w-]+", name) and embedded.exists()):
        return Path(name)
    return embedded.relative_to(Path.cwd()) if embedded.is_relative_to(Path.cwd()) else embedded


def unknown_key(key: str, allowed: Sequence[str]) -> str:
    """Return the message for a key that does not exist."""
    near = get_close_matches(key, allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown key{hint} Allowed: {', '.join(allowed)}"


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(re.fullmatch(r"\w+", part) for part in path):
        raise ConfigError([f"-s {override}: write key=value, such as -s grid.r=[4] or -s measure.rounds=5"])
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        if not re.fullmatch(r"[A-Za-z_./~][\w./:~-]*", text.strip()):  # a bare word is a string
            raise ConfigError(
                [f"-s {override}: {text!r} is not a TOML value, such as 4, [0, 8], true or a word"]
            ) from None
        value = text.strip()
    for part in path[:-1]:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            raise ConfigError([f"-s {override}: {part} is a value, not a table"])
    raw[path[-1]] = value


def _explain(shown: str, problem: Any, overrides: Sequence[str]) -> str:
    """Return `file: key: what is wrong` for one of pydantic's problems."""
    location = [str(part) for part in problem["loc"]]
    message, context = problem["msg"], problem.get("ctx", {})
    if "index" in context:
        location.append(str(context["index"]))
    if "path" in context:
        location.append(context["path"])
    if problem["type"] == "extra_forbidden":
        message = unknown_key(location[-1], _keys_beside(location))
    elif problem["type"] == "missing":
        message = "is missing; it is required"
    elif problem["type"] in _ENGLISH:
        message = f"{_toml(problem['input'])} {_ENGLISH[problem['type']]}"
    elif not isinstance(problem.get("input"), dict) and context.get("ours") is None and "got" not in context:
        message = f"{message} (got {_toml(problem['input'])})"
    source = next((f" (from -s {text})" for text in overrides if ".".join(location).startswith(text.split("=")[0])), "")
    return f"{shown}: {'.'.join(location)}: {message}{source}" if location else f"{shown}: {message}"


_ENGLISH = {
    "int_type": "is not a whole number",
    "float_type": "is not a number",
    "bool_type": "is not true or false",
    "string_type": "is not a text in quotes",
    "string_pattern_mismatch": "is not a name: lower-case letters, digits, - and _",
    "tuple_type": "is not a list",
    "dict_type": "is not a table",
    "model_type": "is not a table",
}


def _keys_beside(location: Sequence[str]) -> tuple[str, ...]:
    model: type[BaseModel] = SweepConfig
    for part in location[:-1]:
        model = model.model_fields[part].annotation  # type: ignore[assignment]
    return tuple(model.model_fields)


def _check_schedule(value: str, index: int) -> None:
    """Raise where `value` is neither a family that takes `r` nor a whole schedule."""
    from fastast.schedule import ScheduleError, parse_schedule

    name, _, rest = value.partition(":")
    if name in ("keep", "speedup", "list"):
        text = value
    elif name == "linear" and rest:
        text = f"linear:0:{rest}"
    elif value in FAMILIES:
        text = f"{value}:0"
    else:
        if name in FAMILIES and rest:
            raise _at(index, f"{_toml(value)}: the number of tokens goes into grid.r; write {_toml(name)}")
        allowed = ", ".join((*FAMILIES, *WHOLE))
        near = get_close_matches(value, ("constant", "decreasing", "increasing"), n=1)
        hint = f" did you mean {near[0]!r}?" if near else ""
        raise _at(index, f"{_toml(value)} is not a schedule;{hint} allowed: {allowed}")
    try:
        parse_schedule(text)
    except ScheduleError as error:
        raise _at(index, str(error)) from None


def _is_gpu_type(value: str) -> bool:
    """Return whether a device is written as a GPU type is: a capital first, and not CUDA or CPU in capitals."""
    return re.fullmatch(r"[A-Z][A-Za-z0-9]*(-[A-Za-z0-9]+)*", value) is not None and value.lower() not in DEVICES


def _allowed(axis: str) -> tuple[str, ...]:
    if axis == "dtype":
        return DTYPES
    if axis == "device":
        return (*DEVICES, "a GPU type such as H100")
    if axis == "attention":
        from fastast.attention import ATTENTION_KERNELS

        return ATTENTION_KERNELS
    import bench.slicing  # noqa: F401  registers the method
    from fastast.reduction import method_names
    from fastast.reduction.spec import Excess, Metric, Order

    names = {"metric": get_args(Metric), "order": get_args(Order), "excess": get_args(Excess)}
    return method_names() if axis == "method" else names[axis]


def _one_of(what: str, value: str, allowed: Sequence[str], index: int | None = None) -> str:
    if value in allowed:
        return value
    article = "an" if what[0] in "aeiou" else "a"
    near = get_close_matches(value, allowed, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    raise _at(index, f"{_toml(value)} is not {article} {what};{hint} allowed: {', '.join(allowed)}")


def _at(index: int | None, message: str) -> PydanticCustomError:
    context: dict[str, Any] = {"ours": True} if index is None else {"ours": True, "index": index}
    return PydanticCustomError("invalid", "{text}", context | {"text": message})


def _at_path(path: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("invalid", "{text}", {"ours": True, "path": path, "text": message})


def _toml(value: Any) -> str:
    """Return a value as the sweep file writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)
