"""A teacher's stored answers: the k best logits of every clip, and the seed of the augmentation that the teacher saw.

Shapes: `b` batch, `c` classes, `k` stored classes of a clip, `r` rows, `s` batches.

With consistent teaching a row belongs to a batch, because clips are mixed within it: a batch is looked up by its seed,
and its clips must be the stored ones in the stored order. Otherwise a row belongs to a clip and is looked up by the
clip's index, and there is one row per clip whatever the number of epochs. Storing seeds rather than spectrograms is
CED's idea (Dinkel et al. 2023, arXiv 2308.11957).

The file is safetensors with one header entry, `fastast_targets`, in JSON. Its tensors: `seeds` (s,), `starts` (s + 1,)
first row of every batch and the total, `indices` (r,), `classes` (r, k), `values` (r, k) and `rest` (r,).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fastast.data.augment import Augmentation
from fastast.distill.distillation import DistillationError
from fastast.frontend import Frontend
from fastast.hashing import hash_plain

ENTRY = "fastast_targets"
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


def compress(logits: Tensor, k: int, activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the k best logits (b, k) with their classes (b, k), and one logit (b,) that represents all the others.

    It has the others' mean probability, so that at temperature 1 the sum of the probabilities is preserved, and with
    `softmax` so are the k best probabilities. The other probabilities are off by at most the k-th best one.
    Raises DistillationError for a `k` that is not from 1 to c.
    """
    c = logits.shape[1]
    if not 1 <= k <= c:
        raise DistillationError(f"targets: k is {k}; the teacher has {c} classes, so it must be from 1 to {c}")
    values, classes = logits.float().topk(k, dim=1)
    if k == c:
        return values, classes, values[:, -1]
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, classes, False)
    rest = logits.double()[others].view(len(logits), c - k)
    if activation == "softmax":
        fill = rest.logsumexp(1) - math.log(c - k)
    else:
        log_mean = torch.nn.functional.logsigmoid(rest).logsumexp(1) - math.log(c - k)
        fill = log_mean - torch.log(-torch.expm1(log_mean))  # the logit of the mean probability
    return values, classes, torch.minimum(fill.float(), values[:, -1])


def decompress(values: Tensor, classes: Tensor, rest: Tensor, num_classes: int) -> Tensor:
    """Undo `compress` as far as possible: return logits (b, c)."""
    logits = rest[:, None].repeat(1, num_classes)
    return logits.scatter_(1, classes, values)


def targets_question(
    augmentation: Augmentation,
    frontend: Frontend,
    *,
    data: Any,
    batch_size: int,
    seed: int,
    generator: str = "cpu",
    precision: str = "float32",
    clips: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return everything except the teacher itself that decides its answers, as plain values.

    `data`: what determines the clips and their order, such as a recipe's data set with its options and sampler; any
    JSON. `batch_size`: number of clips that are mixed with each other. `generator`: type of the device whose generator
    draws the augmentation, as each type draws other numbers. `clips`: hashes of the clips' content
    (`fastast.data.same_clips.identify`).
    """
    return {
        "augmentation": dict(augmentation.question()),
        "num_frames": frontend.num_frames,
        "num_mel_bins": frontend.num_mel_bins,
        "normalisation": dataclasses.asdict(frontend.normalisation),
        "data": data,
        "batch_size": batch_size,
        "seed": seed,
        "generator": generator,
        "precision": precision,
        "clips": dict(clips or {}),
    }


def hash_before(question: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a question as files of version 1 have it, which leaves out precision and clips."""
    before = {key: question[key] for key in ("augmentation", "batch_size", "seed", "generator")}
    data = question["data"]
    before["data"] = data if isinstance(data, str) else json.dumps(data, sort_keys=True)
    before["frontend"] = [question[key] for key in ("num_frames", "num_mel_bins", "normalisation")]
    return hash_plain(before)


def _difference(mine: Mapping[str, Any], theirs: Mapping[str, Any], path: str = "") -> str:
    """Return the first key in which two questions differ, with both values, as text; empty where they agree."""
    for key in {**mine, **theirs}:
        stored, asked = theirs.get(key), mine.get(key)
        if isinstance(stored, Mapping) and isinstance(asked, Mapping):
            if deeper := _difference(asked, stored, f"{path}{key}."):
                return deeper
        elif stored != asked:
            return f"{path}{key} is {stored!r}, this run's is {asked!r}"
    return ""


_WHY = {
    "batch_size": "It counts the clips of a part: the recipe's batch_size / (processes * accumulation)",
    "clips": "The clips, their labels or their audio have changed under the same names",
    "generator": "Another type of device draws other random numbers",
}
"""Key of the question -> explanation of a difference, in addition to the values."""


def load_targets(
    path: Path,
    *,
    num_classes: int,
    activation: str,
    consistent: bool,
    teacher_identity: str,
    question: Mapping[str, Any],
) -> StoredTargets:
    """Read stored answers. Raises DistillationError for a file that is damaged, or for another teacher or question.

    A file from before precision and clips were stored is accepted if everything else agrees; its `notice` says so.
    Raises FileNotFoundError where there is no file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no stored answers there; write them with `fastast record RECIPE --out {path} --k K`"
        )
    try:
        with safe_open(path, framework="pt") as file:
            entry = (file.metadata() or {}).get(ENTRY, "null")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        found = json.loads(entry)
    except (SafetensorError, ValueError) as error:
        raise DistillationError(f"{path}: not a complete file of stored answers ({error}); record it again") from error
    before = found.pop("recipe_hash", None) if isinstance(found, dict) and found.get("version") == 1 else None
    if before is not None:
        found |= {"question": {}, "version": VERSION}
    names = [field.name for field in dataclasses.fields(TargetsHeader)]
    if not isinstance(found, dict) or sorted(found) != sorted(names) or found["version"] != VERSION:
        raise DistillationError(f"{path}: not a file of stored answers of version {VERSION}; record it again")
    header = TargetsHeader(**found)
    checks = (
        ("num_classes", num_classes, "The answers have other classes than the student"),
        ("activation", activation, "The answers must have the recipe's activation"),
        ("consistent", consistent, "The answers must have the recipe's choice of consistent teaching"),
        ("teacher_identity", teacher_identity, "They are from another teacher, or from before it was trained further"),
    )
    for name, wanted, why in checks:
        if getattr(header, name) != wanted:
            raise DistillationError(
                f"{path}: {name} is {getattr(header, name)!r}, this run's is {wanted!r}. {why}; record them again, or "
                "change the recipe back"
            )
    if before is not None:
        if before != hash_before(question):
            raise DistillationError(
                f"{path}: recorded for other data, augmentation, frames, normalisation, batch size, number of "
                "processes, seed or type of device; a file of version 1 does not say which. Record it again"
            )
        notice = "recorded before files stated their clips and precision; record it again to have these checked"
        return StoredTargets(header, tensors, path, notice=f"{path}: {notice}")
    plain = json.loads(json.dumps(question, default=list))
    if difference := _difference(plain, header.question):
        why = _WHY.get(difference.partition(" is ")[0].partition(".")[0], "")
        raise DistillationError(
            f"{path}: recorded for another training: {difference}. {why}{'; record' if why else 'Record'} the answers "
            "again, or change the recipe back"
        )
    return StoredTargets(header, tensors, path)
