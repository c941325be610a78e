"""Implementation of `fastast tune`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

import fastast
from fastast.checkpoints.targets import sha256_of_path
from fastast.frontend import Frontend
from fastast.model import AudioSpectrogramTransformer
from fastast.scores import activation_of
from fastast.system.devices import describe_device, find_device
from fastast.system.writing import write_whole
from fastast.training.evaluation.command import load_trained
from fastast.training.recipe.file import load_recipe
from fastast.training.recipe.recipe import Recipe
from fastast.training.recipe.reductions import reducible
from fastast.training.weights.build import recipe_frontend
from fastast.tuning.answer import answer_text, answer_toml, read_answer
from fastast.tuning.measuring.clips import TuningClips, check_positives, read_clips, spread, two_halves
from fastast.tuning.measuring.journal import Journal
from fastast.tuning.measuring.measurements import Measurements, probed_clips
from fastast.tuning.measuring.scoring import Scorer
from fastast.tuning.question import TuningQuestion, recipe_part
from fastast.tuning.target import TuningError
from fastast.tuning.tune import Tuner
from fastast.zoo import trained_path


def tune_command(question: TuningQuestion, out: Path, *, device: str, say: Callable[[str], None]) -> str:
    """Tune, write the answer to `out` and return what to print; `say` is called with progress messages.

    Measurements are kept in a journal next to `out`, from which a run of the same question resumes. Raises TuningError
    for a question that cannot be answered, and other ValueErrors if the model, data or recipe cannot be used.
    """
    place = find_device(device)
    where = describe_device(place)
    recipe = load_recipe(question.data, question.settings)
    question = replace(
        question,
        weights_sha256=sha256_of_path(trained_path(question.model)),
        recipe_identity=recipe_part(recipe),
    )
    if (values := read_answer(out, question, where)) is not None:
        say(f"{out}: already answers this question")
        return str(values["tuning"]["said"])
    classes = recipe.data.options.split(question.split).classes
    network, columns = load_trained(question.model, classes, labels=question.labels)
    model = reducible(network)
    if not isinstance(model, AudioSpectrogramTransformer):
        raise TuningError(f"tune: {question.model}: this model has no tokens to merge")
    question.method.limit(model.geometry, model.geometry.num_tokens)  # report an option that does not fit first
    default = recipe.normalisation.applied
    frontend = recipe_frontend(network, recipe.model, getattr(network, "normalisation", None) or default)
    calibration, held_out = _read(question, recipe, frontend)
    metric = recipe.metric
    for clips in (calibration, held_out):
        check_positives(clips, classes, question.min_positives)
    scorer = Scorer(metric=metric, activation=activation_of(network.loss, question.activation))
    measured_by = {"device": where, "torch": str(torch.__version__), "fastast": fastast.__version__}
    clips_of = {"calibration": calibration, "held": held_out, "probed": probed_clips(calibration)[0]}
    asked = question.to_dict() | measured_by | {name: clips.ids_sha256 for name, clips in clips_of.items()}
    journal = Journal(out.with_name(out.name + ".journal"), asked)
    try:
        if journal.found:
            say(f"{journal.path}: resuming from {journal.found} measurements")
        asked_of = (question, model.to(place).eval(), calibration, held_out)
        measured = Measurements(*asked_of, scorer, columns, place, journal, say)
        found = Tuner(question, measured, say).run()
        text = answer_text(found, question, calibration, held_out, where, metric)
        content = answer_toml(question, found, calibration, held_out, where, metric, text)
        write_whole(out, content.encode())
        journal.remove()
    finally:
        journal.close()
    return text


def _read(question: TuningQuestion, recipe: Recipe, frontend: Frontend) -> tuple[TuningClips, TuningClips]:
    data = recipe.data.options.split(question.split)
    workers = min(recipe.run.workers, os.cpu_count() or 1)
    if not question.held_out:
        mine, others = two_halves(len(data), question.clips)
        return (
            read_clips(f"half of {question.split}", data, mine, frontend, workers=workers),
            read_clips(f"the other half of {question.split}", data, others, frontend, workers=workers),
        )
    other = recipe.data.options.split(question.held_out)
    return (
        read_clips(question.split, data, spread(len(data), question.clips), frontend, workers=workers),
        read_clips(question.held_out, other, spread(len(other), question.clips), frontend, workers=workers),
    )
