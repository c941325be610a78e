"""Implementation of `fastast learn-merging`.

Shapes: `k` clips, `c` classes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastast.checkpoints import load_checkpoint
from fastast.checkpoints.targets import sha256_of_path
from fastast.data.augment import Augmentation
from fastast.data.datasets import open_split
from fastast.data.same_clips import identify
from fastast.data.sampling import Sampler, load_batches
from fastast.data.splits import check_classes
from fastast.dtem.learner import MergeLearner
from fastast.dtem.question import LearnMergingError, MergingQuestion
from fastast.hashing import hash_plain
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.scores import activation_of
from fastast.statistics import clip_weights, percentile_interval
from fastast.system.devices import find_device
from fastast.training.evaluation.command import load_trained
from fastast.training.precision import slow_precision
from fastast.training.recipe.file import load_recipe
from fastast.training.recipe.reductions import reducible
from fastast.training.run_folder.checkpoint import ResumeError, latest, load_state, save_state
from fastast.training.run_folder.folder import sole_run
from fastast.training.weights.build import recipe_frontend
from fastast.tuning.measuring.clips import TuningClips, read_clips, spread
from fastast.tuning.measuring.scoring import divergences, predict
from fastast.tuning.question import recipe_part
from fastast.zoo import trained_path

STATE_EVERY, SAY_EVERY = 25, 25
"""Number of steps between states on disk, and between progress messages."""
_REPLICATES, _SEED = 1000, 0


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far answers move from the unmerged model's, in nats per clip, with ToMe and with the learned embedding."""

    schedule: str
    """Schedule of both."""
    tome: float
    """Mean divergence with ToMe."""
    learned: float
    """Mean divergence with the learned embedding."""
    low: float
    """Lower end of the 95 % interval of `learned - tome`, paired over clips."""
    high: float
    """Upper end of that interval."""

    def __str__(self) -> str:
        told = "better" if self.high < 0 else "worse" if self.low > 0 else "not told apart"
        return (
            f"{self.schedule}: answers move by {self.tome:.4f} nats with tome, {self.learned:.4f} with dtem; "
            f"difference {self.learned - self.tome:+.4f} [{self.low:+.4f}, {self.high:+.4f}], {told}"
        )


def learn_merging_command(question: MergingQuestion, out: Path, *, device: str, say: Callable[[str], None]) -> str:
    """Learn a merge embedding, write it to `out` and return what to print.

    An interrupted run resumes from the states next to `out`. Raises LearnMergingError if `out` exists or the model has
    no tokens, ResumeError if the states there are another run's, and ValueErrors about the model, data and recipe.
    """
    if out.exists():
        raise LearnMergingError(f"learn-merging: {out} already exists; give another --out, or remove it")
    place = find_device(device)
    recipe = load_recipe(question.data, question.settings)
    question = replace(
        question,
        weights_sha256=sha256_of_path(trained_path(question.model)),
        recipe_identity=recipe_part(recipe),
    )
    data, validation = (open_split(recipe.data.name, recipe.data.options, split) for split in ("train", "val"))
    check_classes({"train": data, "val": validation})
    question = replace(question, clips_sha256=hash_plain(identify(data)))
    network, columns = load_trained(question.model, data.classes, labels=question.labels)
    model = reducible(network)
    if not isinstance(model, AudioSpectrogramTransformer):
        raise LearnMergingError(f"learn-merging: {question.model} has no tokens to merge; give an AST")
    default = recipe.normalisation.applied
    frontend = recipe_frontend(network, recipe.model, getattr(network, "normalisation", None) or default)
    learner = MergeLearner(question, model.to(place).eval(), place)
    if slow := slow_precision(place, question.precision):
        say(f"warning: {slow}")
    sampler = Sampler(num_clips=len(data), batch_size=question.batch_size, seed=question.seed)
    # Read before the first step: too few of them would be noticed after the last.
    clips = read_clips("val", validation, spread(len(validation), question.clips), frontend)
    folder = out.with_name(f"{out.name}.states")
    folder.mkdir(parents=True, exist_ok=True)
    with sole_run(folder):
        first = _resume(learner, folder, say)
        workers = min(recipe.run.workers, max(0, (os.cpu_count() or 1) - 1))
        batches = load_batches(data, sampler.parts(first, question.steps), workers=workers, replace=True)
        per = "class" if learner.loss == "bce" else "clip"
        losses: list[float] = []
        for step, batch in enumerate(batches, start=first):
            losses.append(learner.step(step, Augmentation.plain(batch.to(place), frontend)))
            done = step + 1
            if done % SAY_EVERY == 0 or done == question.steps:
                say(f"step {done} of {question.steps}: {np.mean(losses[-SAY_EVERY:]):.5f} nats per {per}")
            if done % STATE_EVERY == 0 or done == question.steps:
                save_state(folder, learner.state(done))
        return _finish(learner, clips, columns, out, folder)


def _resume(learner: MergeLearner, folder: Path, say: Callable[[str], None]) -> int:
    """Restore a learner from the last state of an interrupted run; return the number of steps done."""
    path = latest(folder)
    if path is None:
        return 0
    state = load_state(path)
    asked, theirs = learner.question.to_dict(), state.notes.get("question", {})
    if not all(theirs.get(key) for key in ("weights_sha256", "recipe_identity", "clips_sha256")):
        raise ResumeError(
            f"{folder}: these states are from an older FastAST and do not say which weights, recipe and clips they "
            "belong to; remove the folder to start again, or give another --out"
        )
    if key := next((key for key in asked if theirs.get(key) != asked[key]), None):
        raise ResumeError(
            f"{folder}: these are states of another run: {key} was {theirs.get(key)!r} and is now {asked[key]!r}; give "
            "another --out, or remove the folder"
        )
    learner.load(state)
    say(f"{folder}: resuming after step {state.step}")
    return state.step


def _finish(learner: MergeLearner, clips: TuningClips, columns: tuple[int, ...], out: Path, folder: Path) -> str:
    """Compare the learned embedding with ToMe on validation clips, write it, and return what to print."""
    question, model = learner.question, learner.model
    candidate = folder / "learned.safetensors"
    learner.result({}).save(candidate)
    unmerged = predict(model, clips, None, device=learner.device, columns=columns)  # (k, c)
    found = [_compare(model, clips, text, candidate, learner.device, columns, unmerged) for text in question.schedules]
    training: dict[str, Any] = question.to_dict() | {
        "model_sha256": load_checkpoint(trained_path(question.model)).sha256,
        "validation_ids_sha256": clips.ids_sha256,
        "validation": [vars(one) for one in found],
    }
    learner.result(training).save(out)
    shutil.rmtree(folder)
    size = out.stat().st_size / 1e3
    lines = [f"{question.model}: {question.steps} steps of {question.batch_size} clips; {out}: {size:.0f} kB"]
    lines += [f"on {len(clips)} validation clips, {one}" for one in found]
    return "\n".join([*lines, f"use it with --method dtem --option weights={out}"])


def _compare(
    model: AudioSpectrogramTransformer,
    clips: TuningClips,
    schedule: str,
    weights: Path,
    device: torch.device,
    columns: tuple[int, ...],
    unmerged: NDArray[np.float32],
) -> Difference:
    reductions = {
        "tome": TokenReduction.from_dict({"schedule": schedule}),
        "dtem": TokenReduction.from_dict({"schedule": schedule, "method": "dtem", "weights": str(weights)}),
    }
    logits = {
        name: predict(model, clips, reduction, device=device, columns=columns) for name, reduction in reductions.items()
    }
    activation = activation_of(model.loss, "")
    tome, learned = (divergences(unmerged, logits[name], activation) for name in ("tome", "dtem"))  # (k,)
    weights_of_clips = clip_weights(len(clips), seed=_SEED, replicates=_REPLICATES)  # (replicates, k)
    low, high = percentile_interval(weights_of_clips @ (learned - tome) / weights_of_clips.sum(1))
    return Difference(
        schedule=schedule, tome=float(tome.mean()), learned=float(learned.mean()), low=float(low), high=float(high)
    )
