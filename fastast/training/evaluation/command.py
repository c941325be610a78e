"""Implement `fastast evaluate`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from fastast.checkpoints.said import read_said
from fastast.classes import is_same_order, match_classes
from fastast.data.datasets import open_split
from fastast.data.training_set import reading_of
from fastast.frontend import Normalisation
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.reduction.text import override, read_reduction
from fastast.schedule import parse_schedule
from fastast.scores import activation_of
from fastast.teachers import Teacher
from fastast.teachers.clip_models import class_count, open_network
from fastast.training.distributed import open_world
from fastast.training.evaluation.evaluate import Evaluation, describe_fault, evaluate
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.file import load_recipe
from fastast.training.recipe.recipe import Recipe
from fastast.training.recipe.reductions import evaluation_reductions, reducible
from fastast.training.run_folder.logging import plain
from fastast.training.weights.build import recipe_frontend


def evaluate_command(
    model: str,
    recipe_name: str,
    settings: Sequence[str],
    schedules: Sequence[str],
    *,
    split: str,
    device: str,
    as_json: bool,
    method: str | None = None,
    options: Sequence[str] = (),
    excess: str | None = None,
    labels: str = "",
    activation: str = "",
    geometry: Sequence[str] = (),
    own_length: bool = False,
) -> str:
    """Evaluate a model or a teacher on a split of a recipe's data and return the text to print.

    `schedules` apply to the recipe's reduction, if it has one; `method`, `options` (texts `name=value`) and `excess`
    override the recipe's. `labels` names the model's outputs (`fastast.classes`), `activation` overrides the one that
    follows from its loss (`fastast.scores`), and `geometry` (texts `name=value`) gives what its file does not state.
    With `own_length`, clips shorter than the model's input run unpadded (`fastast.own_length`).
    Raises ValueError if the model's classes differ from the data's, an argument does not apply to the model, or
    something cannot be read.
    """
    recipe = load_recipe(recipe_name, settings)
    data = open_split(recipe.data.name, recipe.data.options, split)
    network, columns = load_trained(model, data.classes, labels=labels, **read_said(geometry))
    default = recipe.normalisation.applied
    frontend = recipe_frontend(network, recipe.model, getattr(network, "normalisation", None) or default)
    target = reducible(network)
    asked = [setting for setting in settings if setting.strip().startswith("model.")]
    if asked and hasattr(target, "geometry"):  # a CNN takes any length: the recipe states it
        raise RecipeError(
            f"--set {asked[0]}: evaluate measures {model} as its file describes it and would ignore this; leave it out"
        )
    if schedules and not hasattr(target, "attached"):
        raise RecipeError(f"{model}: this model has no tokens to merge; leave --schedule out")
    reductions = _reductions(recipe, schedules, method=method, options=options, excess=excess)
    with open_world(device) as world:
        found = evaluate(
            target.to(world.device),
            data,
            frontend,
            reductions,
            activation=activation_of(network.loss, activation),
            columns=columns,
            world=world,
            batch_size=recipe.run.eval_batch,
            workers=recipe.run.workers,
            own_length=own_length,
        )
    if as_json:
        metrics = {name or "unmerged": plain(m.scalars()) for name, m in found.metrics.items()}
        said = {
            "split": split,
            "clips": found.clips,
            "ids_sha256": found.ids_sha256,
            "reading": reading_of(data),
            "skipped": list(found.skipped),
            "cut": found.cut,
            "activation": found.activation,
            "columns": None if is_same_order(columns) else list(columns),
            "metrics": metrics,
            "clips_per_second": found.rates.as_dict(),
        }
        return json.dumps(said | {"own_length": True} if own_length else said)
    return _table(found, split, is_same_order(columns), own_length=own_length, heard=frontend.seconds)


def load_trained(
    model: str,
    classes: tuple[str, ...],
    *,
    labels: str = "",
    geometry: Mapping[str, object] | None = None,
    normalisation: Normalisation | None = None,
) -> tuple[AudioSpectrogramTransformer | Teacher, tuple[int, ...]]:
    """Return an AST or a teacher in evaluation mode, and the index of its output for each class.

    Raises ClassesError if its classes are not these, or are unknown and `labels` does not name them.
    """
    network = open_network(model, {}, geometry=geometry, normalisation=normalisation)
    return network, match_classes(model, network.labels, class_count(network), classes, stated=labels)


def _reductions(
    recipe: Recipe, schedules: Sequence[str], *, method: str | None, options: Sequence[str], excess: str | None
) -> Sequence[tuple[str, TokenReduction | None]]:
    """Return the reductions to evaluate: the recipe's with each schedule; without schedules, None (unmerged)."""
    if not schedules:
        return (("", read_reduction(None, method=method, options=options, excess=excess)),)
    for text in schedules:
        parse_schedule(text)  # so that its error does not name a recipe's key
    run = dataclasses.replace(recipe.run, evaluate=tuple(schedules))
    found = evaluation_reductions(dataclasses.replace(recipe, run=run))
    return [
        (text, reduction and override(reduction, method=method, options=options, excess=excess))
        for text, reduction in found
    ]


def _table(found: Evaluation, split: str, same_order: bool, *, own_length: bool, heard: float) -> str:
    first = next(iter(found.metrics.values()))
    lines = [
        f"{split}: {found.clips} clips, {len(found.skipped)} corrupt ones left out; chance mAP {first.chance:.4f}; "
        f"scores by {found.activation}"
        + ("" if same_order else "; classes matched by name, in another order")
        + ("; shorter clips at their own length" if own_length else "")
    ]
    lines += [f"  left out: {describe_fault(*entry)}" for entry in found.skipped]
    if found.cut:
        lines.append(
            f"  {found.cut} of {found.clips} clips are longer than the model's {heard:.3f} s: their ends were not heard"
        )
    width = max(len(name or "unmerged") for name in found.metrics)
    lines.append(f"{'schedule':{width}}     mAP     AUC      d'  accuracy")
    for name, m in found.metrics.items():
        lines.append(f"{name or 'unmerged':{width}}  {m.mAP:.4f}  {m.AUC:.4f}  {m.d_prime:6.3f}    {m.accuracy:.4f}")
    rates = found.rates
    lines.append(
        f"clips per second: reading {rates.reading:,.1f} by {rates.readers} processes (run.workers), front end "
        f"{rates.filterbank:,.1f}"
    )
    for name, rate in rates.model.items():
        lines.append(f"  {name or 'unmerged':{width}}  {rate:,.1f} by the model; bottleneck: {rates.limits(name)}")
    return "\n".join(lines)
