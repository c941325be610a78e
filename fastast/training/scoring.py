"""Evaluate the weights of a run, and keep the best of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastast.data.training_set import TrainingSet
from fastast.scores import ACTIVATIONS
from fastast.training.evaluation.evaluate import Evaluation, evaluate
from fastast.training.progress import TrainingProgress
from fastast.training.recipe.reductions import chosen_by, evaluation_reductions
from fastast.training.run_folder.best import BEST, step_of_best, why_anew
from fastast.training.run_folder.logging import RunLog
from fastast.training.trainer import Trainer
from fastast.training.weights.build import save_model


class Scoring:
    """The evaluations of a run, and which weights were the best on the validation set so far."""

    def __init__(
        self,
        trainer: Trainer,
        validation: TrainingSet,
        folder: Path,
        log: RunLog,
        progress: TrainingProgress,
        notes: Mapping[str, Any],
    ) -> None:
        self.trainer, self.recipe, self.world = trainer, trainer.recipe, trainer.world
        self.validation = validation
        self.folder, self.log, self.progress = folder, log, progress
        self.best_by = chosen_by(self.recipe)
        written = self.world.from_leader(step_of_best(folder) if self.world.leads else None)
        self.anew = why_anew(notes, self.best_by, written)
        self.best: float | None = None if self.anew else notes.get("best")
        self.best_step: int = 0 if self.anew else notes.get("best_step", 0)

    def validate(self, done: int) -> None:
        """Evaluate on the validation set, and save the weights if they are the best so far."""
        self.trainer.finite.check_weights(done)
        found = self.evaluate(self.validation, "val", done)
        score = float(getattr(next(iter(found.metrics.values())), self.recipe.metric))
        if self.best is None or score > self.best:
            self.best, self.best_step = score, done
            if self.world.leads:
                self.save(BEST, done)

    def evaluate(self, data: TrainingSet, split: str, done: int) -> Evaluation:
        """Evaluate the weights after `done` steps on a split, log the scores, and return them."""
        self.progress.note_evaluation()
        # Batch norm statistics differ between processes: all evaluate the weights that are saved, the leader's.
        with self.trainer.with_weights(self.world.leaders(self.trainer.best_weights())) as model:
            found = evaluate(
                model,
                data,
                self.trainer.frontend,
                evaluation_reductions(self.recipe),
                activation=ACTIVATIONS[self.recipe.loss],
                world=self.world,
                batch_size=self.recipe.run.eval_batch,
                workers=self.recipe.run.workers,
                precision=self.recipe.precision,
            )
        for name, fault in found.skipped:
            self.log.event("corrupt", done, clip=name, fault=fault, split=split)
        for schedule, metrics in found.metrics.items():
            kind = f"{split} {schedule}".strip()
            self.log.event(kind, done, **metrics.scalars(), clips=found.clips, skipped=len(found.skipped))
        if found.cut:
            heard = round(self.trainer.frontend.seconds, 3)
            self.log.event("cut", done, split=split, clips=found.cut, of=found.clips, heard_seconds=heard)
        return found

    def save(self, name: str, done: int) -> None:
        """Write the weights after `done` steps to a file in the run's folder."""
        notes = {"recipe": self.recipe.question(), "identity": self.recipe.identity, "step": done}
        trainer = self.trainer
        loss, weights = self.recipe.loss, trainer.best_weights()
        save_model(self.folder / name, trainer.model, weights, self.validation.classes, notes, loss=loss)

    def notes(self) -> dict[str, Any]:
        """Return what a run that resumes needs to know about its best weights."""
        return {"best": self.best, "best_step": self.best_step, "best_by": self.best_by}
