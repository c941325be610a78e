"""A training run in one process: its steps, and what is logged, evaluated and written between them."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastast.attention import resolve_kernel
from fastast.data.sampling import Sampler, load_batches
from fastast.data.training_set import TrainingSet, reading_of
from fastast.scores import ACTIVATIONS
from fastast.system.resident import peak_resident_bytes
from fastast.system.runtime import describe_runtime
from fastast.training.evaluation.evaluate import Evaluation, evaluate, save_scores
from fastast.training.evaluation.tested import write_test_ids
from fastast.training.precision import HALF, slow_precision
from fastast.training.recipe.reductions import chosen_by, evaluation_reductions, reducible
from fastast.training.run_folder.best import BEST, step_of_best, why_anew
from fastast.training.run_folder.checkpoint import save_state
from fastast.training.run_folder.folder import RESULT, write_json
from fastast.training.run_folder.logging import RunLog, plain
from fastast.training.trainer import Trainer
from fastast.training.weights.build import save_model

MODEL, SCORES = "model.safetensors", "scores.safetensors"


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
        self.data, self.validation = data, validation
        self.folder, self.log = folder, log
        self.best_by = chosen_by(self.recipe)
        written = self.world.from_leader(step_of_best(folder) if self.world.leads else None)
        self._anew = why_anew(notes, self.best_by, written)
        self.best: float | None = None if self._anew else notes.get("best")
        self.best_step: int = 0 if self._anew else notes.get("best_step", 0)
        self.corrupt: dict[str, str] = notes.get("corrupt", {})
        self.seconds: float = notes.get("seconds", 0.0)
        self._evaluated = False
        self.memory: int = notes.get("memory", 0)
        self._new_corrupt: dict[str, str] = {}
        self._sums: dict[str, Tensor] = {}
        self._counted = 0
        self._logged_at = self._epoch_at = self._began = time.perf_counter()

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
        for text in filter(None, (*self.trainer.notices, slow, self._anew)):
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
        if pinned:
            torch.cuda.reset_peak_memory_stats(self.world.device)
        self._counted = first
        self._logged_at = self._epoch_at = self._began = time.perf_counter()
        for step, some in enumerate(_grouped(batches, recipe.accumulation), start=first):
            for batch in some:
                self._new_corrupt |= {k: v for k, v in batch.skipped if k not in self.corrupt}
            for name, value in trainer.step(step, some).items():
                self._sums[name] = self._sums.get(name, 0) + value
            self._after(step + 1)

    def _after(self, done: int) -> None:
        """Log, evaluate and write whatever is due after `done` steps."""
        run, trainer = self.recipe.run, self.trainer
        epoch, rest = divmod(done, trainer.steps_per_epoch)
        ends, finished = rest == 0, done == trainer.total_steps
        self.log.advance(done)
        if (done % run.log_every == 0 or ends or finished) and done > self._counted:
            self._log_losses(done)
        if ends:
            average = self.recipe.average_epochs
            if trainer.mean is not None and average[0] <= epoch <= average[1]:
                trainer.mean.add(trainer.model)
            self._log_epoch(done, epoch)
        due = done % run.evaluate_every == 0 if run.evaluate_every else ends
        if due and not finished:  # `finish` evaluates the finished weights
            began = time.perf_counter()
            self.validate(done)
            self._skip_time(time.perf_counter() - began)
        if done % run.checkpoint_every == 0 or ends or finished:
            self._checkpoint(done)

    def _note_memory(self) -> None:
        """Record the peak memory of training, which can be told only until this process evaluates."""
        if not self._evaluated:
            self.memory = max(self.memory, peak_memory_mib(self.world.device))

    def _skip_time(self, seconds: float) -> None:
        """Exclude seconds that were not spent on training from all rates and durations."""
        self._began += seconds
        self._epoch_at += seconds
        self._logged_at += seconds

    def _log_corrupt(self, done: int) -> None:
        for found in self.world.gather(self._new_corrupt):
            for name, fault in found.items():
                if name not in self.corrupt:
                    self.corrupt[name] = fault
                    self.log.event("corrupt", done, clip=name, fault=fault)
        self._new_corrupt = {}

    def _log_losses(self, done: int) -> None:
        self.trainer.check_finite()
        self._log_corrupt(done)
        now, steps = time.perf_counter(), done - self._counted
        self._counted = done
        means = {name: float(value) / max(1, steps) for name, value in self._sums.items()}
        shares = self.world.gather(means)
        self._sums = {}
        reduction = self.trainer.reduction_of(done - 1)
        self.log.event(
            "train",
            done,
            **{name: sum(share[name] for share in shares) / len(shares) for name in means},
            lr=self.trainer.optimiser.param_groups[0]["lr"],
            merging="" if reduction is None else str(reduction.schedule),
            clips_per_second=round(steps * self.recipe.batch_size / (now - self._logged_at), 1),
            corrupt=len(self.corrupt),
        )
        self._logged_at = now

    def _log_epoch(self, done: int, epoch: int) -> None:
        now = time.perf_counter()
        self.log.event(
            "epoch",
            done,
            epoch=epoch,
            seconds=round(now - self._epoch_at, 2),
            peak_memory_mib=peak_memory_mib(self.world.device),
            corrupt=len(self.corrupt),
        )
        self._epoch_at = now

    def validate(self, done: int) -> None:
        """Evaluate on the validation set, and save the weights if they are the best so far."""
        self.trainer.check_weights(done)
        found = self._evaluate(self.validation, "val", done)
        score = float(getattr(next(iter(found.metrics.values())), self.recipe.metric))
        if self.best is None or score > self.best:
            self.best, self.best_step = score, done
            if self.world.leads:
                self._save(BEST, done)

    def _evaluate(self, data: TrainingSet, split: str, done: int) -> Evaluation:
        self._note_memory()
        self._evaluated = True
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

    def _save(self, name: str, done: int) -> None:
        notes = {"recipe": self.recipe.question(), "identity": self.recipe.identity, "step": done}
        trainer = self.trainer
        loss, weights = self.recipe.loss, trainer.best_weights()
        save_model(self.folder / name, trainer.model, weights, self.data.classes, notes, loss=loss)

    def _checkpoint(self, done: int) -> None:
        self.trainer.check_weights(done)
        self._log_corrupt(done)  # a run that resumes from here does not read those clips again
        self._note_memory()
        if self.world.leads:
            notes = {
                "best": self.best,
                "best_step": self.best_step,
                "best_by": self.best_by,
                "corrupt": self.corrupt,
                "seconds": self.seconds + time.perf_counter() - self._began,
                "memory": self.memory,
            }
            save_state(self.folder, self.trainer.state(done, notes))

    def finish(self, test: TrainingSet) -> dict[str, Any]:
        """Evaluate the finished weights, write them and the result, and return the result."""
        done = self.trainer.total_steps
        seconds = self.seconds + time.perf_counter() - self._began
        self.validate(done)
        found = self._evaluate(test, "test", done)
        result = {
            "identity": self.recipe.identity,
            "steps": done,
            "seconds": round(seconds, 1),
            "peak_memory_mib": self.memory,
            "best_val": self.best,
            "best_step": self.best_step,
            "corrupt": self.corrupt,
            "test": {name or "unmerged": plain(m.scalars()) for name, m in found.metrics.items()},
            "activation": found.activation,
            "test_clips": found.clips,
            "test_ids_sha256": found.ids_sha256,
            "test_reading": reading_of(test),
            "test_skipped": len(found.skipped),
        }
        if self.world.leads:
            self._save(MODEL, done)
            write_test_ids(self.folder, found.ids)
            if self.recipe.run.keep_scores:
                save_scores(self.folder / SCORES, found)
            write_json(self.folder / RESULT, result)
        return result


def _grouped(batches: Any, size: int) -> Any:
    """Yield lists of `size` batches; the last one may be shorter."""
    while group := list(itertools.islice(batches, size)):
        yield group


def peak_memory_mib(device: torch.device) -> int:
    """Return the peak memory so far, in MiB: that of PyTorch's GPU allocator or, on a CPU, of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return peak_resident_bytes() >> 20


def _runtime() -> dict[str, Any]:
    """Return, for the log, what a step's time depends on besides the recipe."""
    found = describe_runtime()
    waiting = " ".join(f"{name}={value}" for name, value in found.waiting.items())
    memory = f"{found.memory} by {found.allocator}"
    return {"threads": found.threads, "memory": memory, "waiting": waiting or "as the library does"}
