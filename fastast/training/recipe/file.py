"""Read recipes from TOML, with errors that name file, key, value and what is allowed."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastast.data.datasets import DATASETS, get_data_set
from fastast.names import unknown_name
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.parts.data import DataPart
from fastast.training.recipe.parts.model import ModelPart
from fastast.training.recipe.parts.normalisation import NormalisationPart
from fastast.training.recipe.parts.optimiser import OptimiserPart
from fastast.training.recipe.parts.reduction import ReductionPart
from fastast.training.recipe.parts.run import RunPart
from fastast.training.recipe.parts.schedule import SchedulePart
from fastast.training.recipe.recipe import Recipe

FOLDER = Path(__file__).parents[1] / "recipes"


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def recipe_path(name: str) -> Path:
    """Return the file of a shipped recipe, or `name` itself as a path. Raises RecipeError if there is no such file."""
    if name in recipe_names():
        return FOLDER / f"{name}.toml"
    path = Path(name)
    if path.suffix != ".toml":
        raise RecipeError(unknown_name("recipe", name, recipe_names()) + ", or a file that ends in .toml")
    if not path.is_file():
        raise RecipeError(f"{path}: there is no such recipe; give a file, or one of {', '.join(recipe_names())}")
    return path


def load_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path; `key=value` settings override the file's values.

    A value is TOML (`optimiser.lr=1e-4`, `reduction.r=[0,20]`), or else text. An empty value removes a key or a part:
    `distillation=`. With another `data.name`, the options of the file's data set are left out.
    Raises RecipeError, naming file, key, value, what is allowed and the nearest known key.
    """
    path = recipe_path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not readable as TOML: {error}") from error
    where = str(path)
    _forget_other_data(values, settings)
    for setting in settings:
        _set(values, setting)
        where = f"{path} with {', '.join(settings)}"
    return parse_recipe(values, where)


def _forget_other_data(values: dict[str, Any], settings: Sequence[str]) -> None:
    """Remove the options of the file's data set if the settings name another data set."""
    named = [text for key, _, text in (setting.partition("=") for setting in settings) if key.strip() == "data.name"]
    data = values.get("data")
    if named and isinstance(data, dict) and read_value(named[-1]) != data.get("name"):
        values["data"] = {key: data[key] for key in ("name", "sampler") if key in data}


def _set(values: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"setting {setting!r}: it must be key=value, such as optimiser.lr=1e-4")
    *parents, last = key.strip().split(".")
    table = values
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise RecipeError(f"setting {setting!r}: {parent} is a value, not a part")
    if not text:
        table.pop(last, None)
        return
    table[last] = read_value(text)


def read_value(text: str) -> Any:
    """Return the value of a text on the command line: as TOML, or else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def parse_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Make a recipe from the content of a TOML file; errors begin with `where`."""
    from fastast.data.augment import Augmentation
    from fastast.distill import Distillation

    parts: dict[str, type] = {
        "model": ModelPart,
        "reduction": ReductionPart,
        "normalisation": NormalisationPart,
        "optimiser": OptimiserPart,
        "schedule": SchedulePart,
        "augmentation": Augmentation,
        "distillation": Distillation,
        "run": RunPart,
    }
    try:
        top = dict(values)
        for name, kind in parts.items():
            if name in top:
                top[name] = _build_part(kind, top[name], name)
        if "data" in top:
            top["data"] = _build_data(top["data"])
        return build(Recipe, top, "")
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error


def _build_part(kind: type, values: Any, name: str) -> Any:
    if kind is ReductionPart and isinstance(values, Mapping):
        return ReductionPart.from_table(values)
    return build(kind, values, name)


def _build_data(values: Any) -> DataPart:
    if not isinstance(values, dict) or "name" not in values:
        raise RecipeError(f"data.name is missing; it must be one of {', '.join(DATASETS)}")
    if values["name"] not in tuple(DATASETS):
        raise RecipeError(f"data.name: {unknown_name('data set', values['name'], DATASETS)}")
    own = {key: values[key] for key in values if key in ("name", "sampler")}
    kind = get_data_set(values["name"])
    rest = {key: value for key, value in values.items() if key not in own}
    options = build(kind, rest, "data", also=("name", "sampler"))
    if own.get("sampler") == "balanced" and getattr(options, "fresh", False):
        raise RecipeError(
            'data.sampler is "balanced", but data.fresh mixes other clips in every epoch, and the weights are those of '
            'the first; set data.fresh = false, or data.sampler = "shuffle"'
        )
    return DataPart(options=options, **own)


def build(kind: type, values: Any, part: str, *, also: tuple[str, ...] = ()) -> Any:
    """Make a dataclass from a table. Raises RecipeError for an unknown key (not in `also`), or a missing one."""
    prefix = f"{part}." if part else ""
    if not isinstance(values, Mapping):
        raise RecipeError(f"{part} is {values!r}; it must be a part of the recipe: [{part}] with its keys below it")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            raise RecipeError(f"{prefix}{key}: {unknown_name('key', key, (*also, *fields))}")
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise RecipeError(f"{prefix}{missing[0]} is missing")
    # A tuple of one may be written in a recipe as a single value.
    several = {name for name, field in fields.items() if str(field.type).startswith("tuple")}
    plain = {
        key: (tuple(value) if isinstance(value, list) else (value,)) if key in several else value
        for key, value in values.items()
    }
    return kind(**plain)
