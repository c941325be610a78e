"""What a run counts between its steps, and logs now and then: losses, rates, time, memory and corrupt clips."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fastast.data.training_set import Batch
from fastast.system.resident import peak_resident_bytes
from fastast.training.run_folder.logging import RunLog
from fastast.training.trainer import Trainer


class TrainingProgress:
    """The counts of one process; what they add up to in a run goes into its states."""

    def __init__(self, trainer: Trainer, log: RunLog, notes: Mapping[str, Any]) -> None:
        self.trainer, self.recipe, self.world = trainer, trainer.recipe, trainer.world
        self.log = log
        self.corrupt: dict[str, str] = notes.get("corrupt", {})
        self.memory: int = notes.get("memory", 0)
        self._seconds_before: float = notes.get("seconds", 0.0)
        self._evaluated = False
        self._new_corrupt: dict[str, str] = {}
        self._sums: dict[str, Tensor] = {}
        self._counted = 0
        self._logged_at = self._epoch_at = self._began = time.perf_counter()

    def begin(self, first: int) -> None:
        """Start counting at step `first`."""
        if self.world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.world.device)
        self._counted = first
        self._logged_at = self._epoch_at = self._began = time.perf_counter()

    def count(self, losses: Mapping[str, Tensor], parts: Sequence[Batch]) -> None:
        """Count the losses of a step, and the clips in its parts that could not be read."""
        for batch in parts:
            self._new_corrupt |= {k: v for k, v in batch.skipped if k not in self.corrupt}
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0) + value

    @property
    def seconds(self) -> float:
        """Seconds of training so far, over all processes that went on with the run."""
        return self._seconds_before + time.perf_counter() - self._began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the seconds of the block, which are not spent on training, from all rates and durations."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self._began += seconds
        self._epoch_at += seconds
        self._logged_at += seconds

    def note_memory(self) -> None:
        """Record the peak memory of training, which can be told only until this process evaluates."""
        if not self._evaluated:
            self.memory = max(self.memory, peak_memory_mib(self.world.device))

    def note_evaluation(self) -> None:
        """Record the peak memory of training for the last time, as this process evaluates next."""
        self.note_memory()
        self._evaluated = True

    def log_corrupt(self, done: int) -> None:
        """Log the clips that some process could not read and that no line has named yet."""
        for found in self.world.gather(self._new_corrupt):
            for name, fault in found.items():
                if name not in self.corrupt:
                    self.corrupt[name] = fault
                    self.log.event("corrupt", done, clip=name, fault=fault)
        self._new_corrupt = {}

    def log_losses(self, done: int) -> None:
        """Log the mean losses of all processes since the last such line."""
        self.trainer.finite.check_loss()
        self.log_corrupt(done)
        now, steps = time.perf_counter(), done - self._counted
        self._counted = done
        means = {name: float(value) / steps for name, value in self._sums.items()}
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

    def log_epoch(self, done: int, epoch: int) -> None:
        """Log the end of an epoch."""
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

    def notes(self) -> dict[str, Any]:
        """Return what a run that resumes goes on counting from."""
        return {"corrupt": self.corrupt, "seconds": self.seconds, "memory": self.memory}


def peak_memory_mib(device: torch.device) -> int:
    """Return the peak memory so far, in MiB: that of PyTorch's GPU allocator or, on a CPU, of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return peak_resident_bytes() >> 20
