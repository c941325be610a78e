"""Read a file of a teacher's stored answers, and refuse one that was recorded for something else.

The file is safetensors with one header entry, `fastast_targets`, in JSON. Shapes: `c` classes, `k` stored classes of a
clip, `r` rows, `s` batches. Its tensors: `seeds` (s,), `starts` (s + 1,) first row of every batch and the total,
`indices` (r,), `classes` (r, k), `values` (r, k) and `rest` (r,).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fastast.distill.distillation import DistillationError
from fastast.distill.targets import VERSION, StoredTargets, TargetsHeader
from fastast.distill.targets_question import hash_before
from fastast.hashing import differing_values

ENTRY = "fastast_targets"
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
    if found_difference := next(differing_values(plain, header.question), None):
        keys, asked, stored = found_difference
        why = _WHY.get(keys[0], "")
        raise DistillationError(
            f"{path}: recorded for another training: {'.'.join(keys)} is {stored!r}, this run's is {asked!r}. "
            f"{why}{'; record' if why else 'Record'} the answers again, or change the recipe back"
        )
    return StoredTargets(header, tensors, path)
