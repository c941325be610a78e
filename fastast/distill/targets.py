"""A teacher's stored answers: the k best logits of every clip, and the seed of the augmentation that the teacher saw.

Shapes: `b` batch, `c` classes, `k` stored classes of a clip.

With consistent teaching a row belongs to a batch, because clips are mixed within it: a batch is looked up by its seed,
and its clips must be the stored ones in the stored order. Otherwise a row belongs to a clip and is looked up by the
clip's index, and there is one row per clip whatever the number of epochs. Storing seeds rather than spectrograms is
CED's idea (Dinkel et al. 2023, arXiv 2308.11957).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastast.distill.compression import decompress
from fastast.distill.distillation import DistillationError

VERSION = 2


@dataclass(frozen=True, kw_only=True)
class TargetsHeader:
    """The header of a file of stored answers; all but `k` must match the training, or the file is refused."""

    teacher_identity: str
    """SHA-256 of the teacher (`fastast.teachers.teacher_identity`)."""
    question: Mapping[str, Any]
    """Which clips were seen, in which batches and with which augmentation (`targets_question`)."""
    num_classes: int
    """Number of the student's classes, c, to which the teacher's outputs are matched."""
    k: int
    """Number of logits stored per clip; with k = c nothing is lost."""
    activation: str
    """`sigmoid` or `softmax`, which decides how missing logits are filled in."""
    consistent: bool
    """Whether the teacher saw the augmented clips."""
    version: int = VERSION
    """Version of the file format."""


class StoredTargets:
    """Stored answers in memory, looked up batch by batch."""

    def __init__(self, header: TargetsHeader, tensors: dict[str, Tensor], path: Path, *, notice: str = "") -> None:
        self.header = header
        self.notice = notice
        """Message about the file for the user; empty if there is none."""
        self.path = path
        self._tensors = tensors
        if header.consistent:
            self._rows = {int(seed): batch for batch, seed in enumerate(tensors["seeds"].tolist())}
        else:
            self._rows = {int(index): row for row, index in enumerate(tensors["indices"].tolist())}

    def __len__(self) -> int:
        """Return the number of stored rows."""
        return len(self._tensors["indices"])

    def logits(self, indices: Tensor, *, seed: int | None = None) -> Tensor:
        """Return the teacher's logits (b, c), float32, for the clips `indices` (b,) in the batch augmented with `seed`.

        Raises DistillationError where that batch or clip is not stored, or the stored batch has other clips.
        """
        wanted = indices.detach().cpu().long()
        if self.header.consistent:
            rows = self._rows_of_batch(wanted, seed)
        else:
            missing = [i for i in wanted.tolist() if i not in self._rows]
            if missing:
                raise DistillationError(f"{self.path}: no answer is stored for clip {missing[0]}; record the whole set")
            rows = torch.tensor([self._rows[i] for i in wanted.tolist()])
        values, classes, rest = (self._tensors[name][rows] for name in ("values", "classes", "rest"))
        return decompress(values, classes.long(), rest, self.header.num_classes)

    def check_covers(self, seeds: Iterable[int]) -> None:
        """Raise DistillationError unless all batches of a training are stored.

        Answers by clip always pass: they are for the whole set, except corrupt clips, however long the training is.
        """
        missing = sum(seed not in self._rows for seed in seeds) if self.header.consistent else 0
        if missing:
            raise DistillationError(
                f"{self.path}: the answers to {missing} batches of this training are not stored, only those to "
                f"{len(self._rows)} batches; record as many steps, for as many processes, as the training has"
            )

    def _rows_of_batch(self, wanted: Tensor, seed: int | None) -> Tensor:
        if seed is None:
            raise DistillationError(
                f"{self.path}: answers of consistent teaching are looked up by the batch's augmentation seed; pass "
                "seed="
            )
        if seed not in self._rows:
            raise DistillationError(
                f"{self.path}: no batch with augmentation seed {seed} is stored, only {len(self._rows)} others; record "
                "as many steps as the training has, with the same seed"
            )
        batch = self._rows[seed]
        first, last = self._tensors["starts"][batch : batch + 2].tolist()
        stored = self._tensors["indices"][first:last]
        if not torch.equal(stored, wanted):
            raise DistillationError(
                f"{self.path}: the batch with augmentation seed {seed} has the clips {stored.tolist()[:4]}… "
                f"({len(stored)}), but {wanted.tolist()[:4]}… ({len(wanted)}) were requested; sampler and batch size "
                "must be those of the recording"
            )
        return torch.arange(first, last)

    @property
    def largest_missing_probability(self) -> float:
        """Upper bound on the error of any probability at temperature 1: the largest k-th best one; 0 with k = c."""
        if self.header.k == self.header.num_classes or not len(self):
            return 0.0
        values, classes, rest = (self._tensors[name] for name in ("values", "classes", "rest"))
        if self.header.activation == "sigmoid":
            return float(values[:, -1].double().sigmoid().max())
        logits = decompress(values, classes.long(), rest, self.header.num_classes).double()
        return float(logits.softmax(1).gather(1, classes[:, -1:].long()).max())
