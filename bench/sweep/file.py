"""Read a sweep from its file, apply overrides, and report all that is wrong with it before anything runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.sweep.complaints import ConfigError, problem_words
from bench.sweep.config import DataConfig, SweepConfig

SWEEPS = Path(__file__).parents[1] / "sweeps"
"""The sweeps that come with the repository; `default` is short for `bench/sweeps/default.toml`."""


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read and check a sweep file.

    `overrides` are `key=value` in TOML, such as `grid.r=[4]`. Raises ConfigError with file, key, value and
    what is allowed, one line per problem.
    """
    raw = read_sweep(path, overrides)
    try:
        return SweepConfig.model_validate(raw, context=tuple(overrides))
    except ValidationError as error:
        raise ConfigError(problem_words(path, error, SweepConfig, overrides)) from None


def read_sweep(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of a sweep file with overrides, unchecked. Raises ConfigError where either cannot be read."""
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in SWEEPS.glob("*.toml")))
        raise ConfigError([f"{path}: no such file; give a TOML file or one of: {known}"])
    raw = read_toml(path)
    _forget_other_data(raw, overrides)
    for override in overrides:
        _apply_override(raw, override)
    return raw


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigError naming the file where it cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 text (byte {error.start})"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None


def find_sweep(name: str) -> Path:
    """Return the path of a sweep given by path or by the name of one in `bench/sweeps`."""
    embedded = SWEEPS / f"{name}.toml"
    if not (re.fullmatch(r"[\w-]+", name) and embedded.exists()):
        return Path(name)
    return embedded.relative_to(Path.cwd()) if embedded.is_relative_to(Path.cwd()) else embedded


def _forget_other_data(raw: dict[str, Any], overrides: Sequence[str]) -> None:
    """Remove the options of the file's data set where an override names another, which they do not apply to."""
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
