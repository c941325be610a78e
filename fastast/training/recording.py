"""Run a teacher over the batches of a future training, and store its answers.

Shapes: `b` batch, `c` classes, `k` stored classes of a clip.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from fastast.data.augment import Augmentation
from fastast.data.training_set import Batch
from fastast.distill.compression import compress
from fastast.distill.distillation import DistillationError
from fastast.distill.distiller import FrozenTeacher
from fastast.distill.targets import TargetsHeader
from fastast.distill.targets_file import ENTRY
from fastast.distill.targets_question import targets_question
from fastast.frontend import Frontend
from fastast.system.writing import write_whole
from fastast.training.recipe.recipe import Recipe


def record_targets(
    path: str | Path,
    teacher: FrozenTeacher,
    batches: Iterable[tuple[int, Batch]],
    *,
    augmentation: Augmentation,
    frontend: Frontend,
    generator: torch.Generator,
    question: Mapping[str, Any],
    num_classes: int,
    k: int,
    activation: str = "sigmoid",
    consistent: bool = True,
) -> Path:
    """Store the teacher's answers to the batches of a training, whole or not at all, and return the path.

    `batches`: every batch as the training will see it, with the seed of its augmentation (`step_seed`); `generator` is
    set to that seed before each batch, as the training does. Without consistent teaching, the seeds do not matter, and
    only the first answer to a clip is stored. `question`: the description of all that (`targets_question`), which a
    training must match in order to use the file. `k`: number of logits to keep for each clip.
    The teacher runs under the autocast in force: use the training's.
    Raises DistillationError for a k that is too large, a seed that occurs twice, a teacher with another number of
    classes than `num_classes`, or if there are no batches.
    """
    path = Path(path)
    seeds: list[int] = []
    starts = [0]
    parts: dict[str, list[torch.Tensor]] = {"indices": [], "values": [], "classes": [], "rest": []}
    known: set[int] = set()
    for seed, batch in batches:
        indices = batch.indices.cpu().long()
        if consistent:
            if seed in known:
                raise DistillationError(f"{path}: augmentation seed {seed} comes twice; give every batch its own")
            known.add(seed)
            generator.manual_seed(seed)
            fbank, _ = augmentation.apply(batch, generator, frontend)
            new = torch.ones(len(indices), dtype=torch.bool)
        else:
            fbank = augmentation.plain(batch, frontend)
            new = torch.tensor([i not in known and i not in indices[:p] for p, i in enumerate(indices.tolist())])
            known.update(indices.tolist())
        logits = teacher(fbank).cpu()
        if logits.shape[1] != num_classes:
            raise DistillationError(
                f"{path}: the teacher answers with {logits.shape[1]} classes, but the student has {num_classes}"
            )
        values, classes, rest = compress(logits, k, activation)
        found = {"indices": indices, "values": values, "classes": classes.to(torch.int32), "rest": rest}
        for name, tensor in found.items():
            parts[name].append(tensor[new])
        seeds.append(seed)
        starts.append(starts[-1] + int(new.sum()))
    if not seeds:
        raise DistillationError(f"{path}: no batches were given; nothing was written")
    header = TargetsHeader(
        teacher_identity=teacher.identity,
        question=question,
        num_classes=num_classes,
        k=k,
        activation=activation,
        consistent=consistent,
    )
    tensors = {name: torch.cat(pieces).contiguous() for name, pieces in parts.items()}
    tensors |= {"seeds": torch.tensor(seeds), "starts": torch.tensor(starts)}
    write_whole(path, save(tensors, {ENTRY: json.dumps(dataclasses.asdict(header))}))
    return path


def recipe_question(
    recipe: Recipe, frontend: Frontend, *, processes: int, device: torch.device, clips: Mapping[str, str]
) -> dict[str, Any]:
    """Return what determines the answers of a recipe's teacher to `clips` in a training by `processes` on `device`."""
    return targets_question(
        recipe.augmentation or Augmentation(),
        frontend,
        data=recipe.question()["data"],
        batch_size=recipe.batch_size // (processes * recipe.accumulation),
        seed=recipe.seed,
        generator=device.type,
        precision=recipe.precision,
        clips=clips,
    )
