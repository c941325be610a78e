"""A sweep from its file: read, overridden, checked, and every complaint about it before anything runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from bench.sweep.complaints import ConfigError, as_toml, unknown_key
from bench.sweep.config import DataConfig, SweepConfig

SWEEPS = Path(__file__).parents[1] / "sweeps"
"""The sweeps that come with the repository; `default` is short for `bench/sweeps/default.toml`."""


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read and check a sweep file.

    `overrides` are `key=value` in TOML, such as `grid.r=[4]`. Raises ConfigError with file, key, value and
    what is allowed, one line per problem.
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
    _forget_other_data(raw, overrides)
    for override in overrides:
        _apply_override(raw, override)
    try:
        return SweepConfig.model_validate(raw, context=tuple(overrides))
    except ValidationError as error:
        raise ConfigError(problem_words(shown, error, SweepConfig, overrides)) from None


def find_sweep(name: str) -> Path:
    """Return the path of a sweep given by path or by the name of one in `bench/sweeps`."""
    embedded = SWEEPS / f"{name}.toml"
    if not (re.fullmatch(r"[\w-]+", name) and embedded.exists()):
        return Path(name)
    return embedded.relative_to(Path.cwd()) if embedded.is_relative_to(Path.cwd()) else embedded


def _forget_other_data(raw: dict[str, Any], overrides: Sequence[str]) -> None:
    """Take the options of the file's data set out where an override names another: they do not outlive it."""
    pairs = (override.partition("=") for override in overrides)
    named = [text.strip().strip("\"'") for key, _, text in pairs if key.strip() == "data.dataset"]
    data, keys = raw.get("data", {}), DataConfig.model_fields
    if named and isinstance(data, dict) and named[-1] != data.get("dataset", keys["dataset"].default):
        raw["data"] = {key: value for key, value in data.items() if key in keys}


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


def problem_words(shown: str, error: ValidationError, top: type[BaseModel], overrides: Sequence[str] = ()) -> list[str]:
    """Return `file: key: what is wrong` for each of pydantic's problems with a file that is a `top`."""
    found = error.errors()
    within = {problem["loc"][:depth] for problem in found for depth in range(len(problem["loc"]))}
    # A list of which an entry is wrong is too short as well, says pydantic.
    own = [problem for problem in found if not (problem["type"] == "too_short" and problem["loc"] in within)]
    return [_explain(shown, problem, top, overrides) for problem in own]


def _explain(shown: str, problem: Any, top: type[BaseModel], overrides: Sequence[str]) -> str:
    location = [str(part) for part in problem["loc"]]
    context = problem.get("ctx", {})
    message = problem["msg"].removeprefix("Value error, ")  # what pydantic puts before FastAST's own words
    if "index" in context:
        location.append(str(context["index"]))
    if "path" in context:
        location.append(context["path"])
    if problem["type"] == "extra_forbidden":
        message = unknown_key(location[-1], _keys_beside(top, location))
    elif problem["type"] == "missing":
        message = "is missing; it is required"
    elif problem["type"] in _ENGLISH:
        message = f"{as_toml(problem['input'])} {_ENGLISH[problem['type']]}"
    elif not isinstance(problem.get("input"), dict) and context.get("ours") is None and "got" not in context:
        message = f"{message} (got {as_toml(problem['input'])})"
    source = next((f" (from -s {text})" for text in overrides if ".".join(location).startswith(text.split("=")[0])), "")
    return f"{shown}: {'.'.join(location)}: {message}{source}" if location else f"{shown}: {message}"


_ENGLISH = {
    "int_type": "is not a whole number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number; give one",
    "bool_type": "is not true or false",
    "string_type": "is not a text in quotes",
    "string_pattern_mismatch": "is not a name: lower-case letters, digits, - and _",
    "tuple_type": "is not a list",
    "dict_type": "is not a table",
    "model_type": "is not a table",
}


def _keys_beside(top: type[BaseModel], location: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of the table that a place is in; a number in it is that of a table in a list."""
    model = top
    for part in location[:-1]:
        if not part.isdigit():
            model = _model_in(model.model_fields[part].annotation)
    return tuple(model.model_fields)


def _model_in(kind: Any) -> type[BaseModel]:
    """Return the model of a field's type, or of what its tuple or choice holds."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next(_model_in(part) for part in get_args(kind) if part is not type(None) and part is not ...)
