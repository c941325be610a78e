"""What `fastast evaluate` does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from fastast.frontend import Normalisation
from fastast.reduction import TokenReduction
from fastast.schedule import parse_schedule
from fastast.teachers import load_teacher
from fastast.training.build import frontend_of
from fastast.training.checks import RecipeError
from fastast.training.distributed import open_world
from fastast.training.evaluate import Evaluation, evaluate
from fastast.training.logging import plain
from fastast.training.recipe_file import load_recipe


def evaluate_command(
    model: str,
    recipe_name: str,
    settings: Sequence[str],
    schedules: Sequence[str],
    *,
    split: str,
    device: str,
    as_json: bool,
) -> str:
    """Measure a model or a teacher on a split of a recipe's data and return what to print.

    Raises ValueError where the model has other classes than the data, or anything cannot be read.
    """
    recipe = load_recipe(recipe_name, settings)
    data = recipe.data.options.split(split)
    network = load_teacher(model, num_classes=len(data.classes), labels=data.classes)
    default = Normalisation(mean=recipe.normalisation.mean, std=recipe.normalisation.std)
    frontend = frontend_of(network, recipe.model, network.normalisation or default)
    reductions: list[tuple[str, TokenReduction | None]] = [
        (text, TokenReduction(schedule=parse_schedule(text))) for text in schedules
    ]
    target = getattr(network, "model", network)
    if reductions and not hasattr(target, "attached"):
        raise RecipeError(f"{Path(model).name}: this model has no tokens to merge; leave --schedule out")
    with open_world(device) as world:
        found = evaluate(
            target.to(world.device),
            data,
            frontend,
            reductions or (("", None),),
            world=world,
            batch_size=recipe.run.eval_batch,
            workers=recipe.run.workers,
        )
    if as_json:
        metrics = {name or "unmerged": plain(dataclasses.asdict(m)) for name, m in found.metrics.items()}
        return json.dumps({"split": split, "clips": found.clips, "skipped": list(found.skipped), "metrics": metrics})
    return _table(found, split)


def _table(found: Evaluation, split: str) -> str:
    first = next(iter(found.metrics.values()))
    lines = [f"{split}: {found.clips} clips, {len(found.skipped)} corrupt ones left out; chance mAP {first.chance:.4f}"]
    lines += [f"  left out: {fault}" for _, fault in found.skipped]
    width = max(len(name or "unmerged") for name in found.metrics)
    lines.append(f"{'schedule':{width}}     mAP     AUC      d'  accuracy")
    for name, m in found.metrics.items():
        lines.append(f"{name or 'unmerged':{width}}  {m.mAP:.4f}  {m.AUC:.4f}  {m.d_prime:6.3f}    {m.accuracy:.4f}")
    return "\n".join(lines)
