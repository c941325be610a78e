"""A training run in one process: its steps, and when what they reached is logged, evaluated and written."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch

from fastast.attention import resolve_kernel
from fastast.data.sampling import Sampler, load_batches
from fastast.data.training_set import TrainingSet, reading_of
from fastast.system.runtime import describe_runtime
from fastast.training.evaluation.evaluate import save_scores
from fastast.training.evaluation.tested import write_test_ids
from fastast.training.precision import HALF, slow_precision
from fastast.training.progress import TrainingProgress
from fastast.training.recipe.reductions import reducible
from fastast.training.run_folder.checkpoint import save_state
from fastast.training.run_folder.folder import MODEL, RESULT, SCORES, write_json
from fastast.training.run_folder.logging import RunLog, plain
from fastast.training.scoring import Scoring
from fastast.training.trainer import Trainer


class Run:
    """The steps of one process, and what happens between them."""

    def __init__(
        self,
        trainer: Trainer,
        data: TrainingSet,
        validation: TrainingSet,
        folder: Path,
        log: RunLog,
        notes: dict[str, Any],
    ) -> None:
        self.trainer, self.recipe, self.world = trainer, trainer.recipe, trainer.world
        self.data, self.folder, self.log = data, folder, log
        self.progress = TrainingProgress(trainer, log, notes)
        self.scoring = Scoring(trainer, validation, folder, log, self.progress, notes)

    def announce(self, first: int, *, resumed: bool) -> None:
        """Log what is trained, on which data and with which settings, and any warnings."""
        self.log.event(
            "resume" if resumed else "start",
            first,
            recipe=self.recipe.identity[:12],
            parameters=sum(p.numel() for p in self.trainer.model.parameters()),
            clips=len(self.data),
            left_out=getattr(self.data, "left_out", 0),
            classes=len(self.data.classes),
            steps=self.trainer.total_steps,
            processes=self.world.size,
            device=str(self.world.device),
            engine=self.recipe.engine,
            attention=self._attention(),
            torch=torch.__version__,
            **_runtime(),
        )
        slow = slow_precision(self.world.device, self.recipe.precision)
        for text in filter(None, (*self.trainer.notices, slow, self.scoring.anew)):
            self.log.event("warning", first, text=text)

    def _attention(self) -> str:
        """Return the attention kernel of the steps; empty for a CNN, and for an engine, which has its own."""
        kernel = getattr(reducible(self.trainer.model), "attention_kernel", None)
        if kernel is None or self.recipe.engine != "plain":
            return ""
        return resolve_kernel(kernel, self.world.device, HALF.get(self.recipe.precision), training=True)

    def steps(self, first: int, sampler: Sampler) -> None:
        """Train from step `first` to the last one."""
        trainer, recipe, run = self.trainer, self.recipe, self.recipe.run
        trainer.model.train()
        parts = sampler.parts(
            first,
            trainer.total_steps,
            rank=self.world.rank,
            world_size=self.world.size,
            accumulation=recipe.accumulation,
        )
        pinned = self.world.device.type == "cuda"
        batches = load_batches(self.data, parts, workers=run.workers, replace=True, pin_memory=pinned)
        self.progress.begin(first)
        for step, some in enumerate(_grouped(batches, recipe.accumulation), start=first):
            self.progress.count(trainer.step(step, some), some)
            self._after(step + 1)

    def _after(self, done: int) -> None:
        """Log, evaluate and write whatever is due after `done` steps."""
        run, trainer = self.recipe.run, self.trainer
        epoch, rest = divmod(done, trainer.steps_per_epoch)
        ends, finished = rest == 0, done == trainer.total_steps
        self.log.advance(done)
        if done % run.log_every == 0 or ends or finished:
            self.progress.log_losses(done)
        if ends:
            average = self.recipe.average_epochs
            if trainer.mean is not None and average[0] <= epoch <= average[1]:
                trainer.mean.add(trainer.model)
            self.progress.log_epoch(done, epoch)
        due = done % run.evaluate_every == 0 if run.evaluate_every else ends
        if due and not finished:  # `finish` evaluates the finished weights
            with self.progress.paused():
                self.scoring.validate(done)
        if done % run.checkpoint_every == 0 or ends or finished:
            self._checkpoint(done)

    def _checkpoint(self, done: int) -> None:
        self.trainer.finite.check_weights(done)
        self.progress.log_corrupt(done)  # a run that resumes from here does not read those clips again
        self.progress.note_memory()
        if self.world.leads:
            save_state(self.folder, self.trainer.state(done, self.scoring.notes() | self.progress.notes()))

    def finish(self, test: TrainingSet) -> dict[str, Any]:
        """Evaluate the finished weights, write them and the result, and return the result."""
        done = self.trainer.total_steps
        seconds = self.progress.seconds
        self.scoring.validate(done)
        found = self.scoring.evaluate(test, "test", done)
        result = {
            "identity": self.recipe.identity,
            "steps": done,
            "seconds": round(seconds, 1),
            "peak_memory_mib": self.progress.memory,
            "best_val": self.scoring.best,
            "best_step": self.scoring.best_step,
            "corrupt": self.progress.corrupt,
            "test": {name or "unmerged": plain(m.scalars()) for name, m in found.metrics.items()},
            "activation": found.activation,
            "test_clips": found.clips,
            "test_ids_sha256": found.ids_sha256,
            "test_reading": reading_of(test),
            "test_skipped": len(found.skipped),
        }
        if self.world.leads:
            self.scoring.save(MODEL, done)
            write_test_ids(self.folder, found.ids)
            if self.recipe.run.keep_scores:
                save_scores(self.folder / SCORES, found)
            write_json(self.folder / RESULT, result)
        return result


def _grouped(batches: Any, size: int) -> Any:
    """Yield lists of `size` batches; the last one may be shorter."""
    while group := list(itertools.islice(batches, size)):
        yield group


def _runtime() -> dict[str, Any]:
    """Return, for the log, what a step's time depends on besides the recipe."""
    found = describe_runtime()
    waiting = " ".join(f"{name}={value}" for name, value in found.waiting.items())
    memory = f"{found.memory} by {found.allocator}"
    return {"threads": found.threads, "memory": memory, "waiting": waiting or "as the library does"}
