"""What `fastast evaluate` does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from fastast.checkpoints import load_model
from fastast.frontend import Normalisation
from fastast.prediction import trained_path
from fastast.reduction import TokenReduction
from fastast.reduction.spec import Excess
from fastast.schedule import parse_schedule
from fastast.teachers import load_teacher
from fastast.teachers.files import ENTRY
from fastast.training.build import recipe_frontend
from fastast.training.checks import RecipeError
from fastast.training.distributed import open_world
from fastast.training.evaluate import Evaluation, describe_fault, evaluate
from fastast.training.logging import plain
from fastast.training.recipe import Recipe
from fastast.training.recipe_file import load_recipe
from fastast.training.reductions import evaluation_reductions, reducible


def evaluate_command(
    model: str,
    recipe_name: str,
    settings: Sequence[str],
    schedules: Sequence[str],
    *,
    split: str,
    device: str,
    as_json: bool,
    excess: Excess | None = None,
) -> str:
    """Measure a model or a teacher on a split of a recipe's data and return what to print.

    `schedules` are those of the recipe's reduction, if it has one; `excess` goes before what the recipe says.
    Raises ValueError where the model has other classes than the data, or anything cannot be read.
    """
    recipe = load_recipe(recipe_name, settings)
    data = recipe.data.options.split(split)
    network = load_trained(model, data.classes)
    default = Normalisation(mean=recipe.normalisation.mean, std=recipe.normalisation.std)
    frontend = recipe_frontend(network, recipe.model, getattr(network, "normalisation", None) or default)
    target = reducible(network)
    if schedules and not hasattr(target, "attached"):
        raise RecipeError(f"{model}: this model has no tokens to merge; leave --schedule out")
    with open_world(device) as world:
        found = evaluate(
            target.to(world.device),
            data,
            frontend,
            _reductions(recipe, schedules, excess),
            world=world,
            batch_size=recipe.run.eval_batch,
            workers=recipe.run.workers,
        )
    if as_json:
        metrics = {name or "unmerged": plain(m.scalars()) for name, m in found.metrics.items()}
        return json.dumps({"split": split, "clips": found.clips, "skipped": list(found.skipped), "metrics": metrics})
    return _table(found, split)


def load_trained(model: str, classes: tuple[str, ...]) -> nn.Module:
    """Load an AST or a teacher in evaluation mode. Raises RecipeError where its classes are not these."""
    path = trained_path(model)
    if (header := _teacher_header(path)) is None:
        network = load_model(path).eval()
        _check_classes(model, network.geometry.num_classes, network.labels, classes)
        return network
    _check_classes(model, header.get("num_classes"), header.get("labels"), classes)
    return load_teacher(path, num_classes=len(classes))


def _teacher_header(path: Path) -> dict[str, Any] | None:
    """Return what a teacher's file says of itself, None for any other file; its reader will say what is wrong."""
    try:
        with safe_open(path, framework="pt") as file:
            entry = (file.metadata() or {}).get(ENTRY)
    except (SafetensorError, OSError):
        return None
    if entry is None:
        return None
    try:
        header = json.loads(entry)
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}


def _check_classes(model: str, count: int | None, names: Sequence[str] | None, classes: tuple[str, ...]) -> None:
    if count is not None and count != len(classes):
        raise RecipeError(
            f"{model}: the model knows {count} classes and the recipe's data has {len(classes)}; evaluate it on the "
            "data that it was trained on"
        )
    for index, (mine, theirs) in enumerate(zip(names or (), classes, strict=False)):
        if mine != theirs:
            raise RecipeError(
                f"{model}: class {index} of the model is {mine!r}, of the recipe's data {theirs!r}; they must be the "
                "same classes in the same order"
            )


def _reductions(
    recipe: Recipe, schedules: Sequence[str], excess: Excess | None
) -> Sequence[tuple[str, TokenReduction | None]]:
    """Return what to measure under: the recipe's reduction with each schedule; without one, the model unmerged."""
    if not schedules:
        return (("", None),)
    for text in schedules:
        parse_schedule(text)  # its own words, without the key of a recipe
    run = dataclasses.replace(recipe.run, evaluate=tuple(schedules))
    found = evaluation_reductions(dataclasses.replace(recipe, run=run))
    if excess is None:
        return found
    return [(text, reduction and dataclasses.replace(reduction, excess=excess)) for text, reduction in found]


def _table(found: Evaluation, split: str) -> str:
    first = next(iter(found.metrics.values()))
    lines = [f"{split}: {found.clips} clips, {len(found.skipped)} corrupt ones left out; chance mAP {first.chance:.4f}"]
    lines += [f"  left out: {describe_fault(*entry)}" for entry in found.skipped]
    width = max(len(name or "unmerged") for name in found.metrics)
    lines.append(f"{'schedule':{width}}     mAP     AUC      d'  accuracy")
    for name, m in found.metrics.items():
        lines.append(f"{name or 'unmerged':{width}}  {m.mAP:.4f}  {m.AUC:.4f}  {m.d_prime:6.3f}    {m.accuracy:.4f}")
    return "\n".join(lines)
