"""Scores of a model on a split, under several schedules at once.

Shapes: `b` batch, `k` clips, `c` classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from fastast.data.augment import Augmentation
from fastast.data.sampling import in_order, load_batches
from fastast.data.training_set import TrainingSet
from fastast.frontend import Frontend
from fastast.metrics import Metrics, measure_scores
from fastast.reduction import TokenReduction, reduce
from fastast.training.distributed import World
from fastast.training.precision import autocast
from fastast.training.reductions import reducible
from fastast.writing import write_whole


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came out on a split."""

    metrics: dict[str, Metrics]
    """By schedule; the empty text is the model unmerged."""
    clips: int
    """Clips that were scored."""
    skipped: tuple[tuple[str, str], ...]
    """Name and fault of every corrupt clip that was left out."""
    labels: NDArray[np.float32]
    """(k, c), in the order of the split."""
    scores: dict[str, NDArray[np.float32]]
    """(k, c), by schedule."""


@contextmanager
def merged(model: nn.Module, reduction: TokenReduction | None) -> Iterator[None]:
    """Attach a reduction for the time of the block; None leaves the model as it is."""
    if reduction is None:
        yield
        return
    with reduce(model, reduction):  # type: ignore[arg-type]
        yield


def evaluate(
    model: nn.Module,
    data: TrainingSet,
    frontend: Frontend,
    reductions: Sequence[tuple[str, TokenReduction | None]] = (("", None),),
    *,
    world: World | None = None,
    batch_size: int = 32,
    workers: int = 0,
    precision: str = "float32",
) -> Evaluation:
    """Score a split under every named reduction; the clips are read once. Corrupt ones are named and left out.

    Every process of `world` scores its share, and all of them get the result. The model is left in its mode.
    Raises ValueError where no clip could be scored, or scores are not finite.
    """
    world = world or World()
    training = model.training
    model.eval()
    scores: dict[str, list[NDArray[np.float32]]] = {name: [] for name, _ in reductions}
    labels: list[NDArray[np.float32]] = []
    indices: list[NDArray[np.int64]] = []
    skipped: list[tuple[str, str]] = []
    positions = in_order(len(data), batch_size, rank=world.rank, world_size=world.size)
    try:
        for batch in load_batches(data, positions, workers=workers, replace=False):
            skipped += batch.skipped
            if not len(batch.indices):
                continue
            labels.append(batch.labels.numpy())
            indices.append(batch.indices.numpy())
            fbank = Augmentation.plain(batch.to(world.device), frontend)  # (b, f, m)
            if precision == "float64":
                fbank = fbank.double()
            for name, reduction in reductions:
                with torch.inference_mode(), merged(reducible(model), reduction), autocast(world.device, precision):
                    scores[name].append(model(fbank).float().sigmoid().cpu().numpy())
    finally:
        model.train(training)
    shares = world.gather((labels, indices, scores, skipped))
    flat_labels = [part for share in shares for part in share[0]]
    if not flat_labels:
        faults = [describe_fault(*entry) for share in shares for entry in share[3]]
        raise ValueError("evaluate: not one clip could be read" + f"; the first says: {faults[0]}" * bool(faults))
    # In the order of the set: equal scores, and so the metrics, do not depend on the number of processes.
    order = np.argsort(np.concatenate([part for share in shares for part in share[1]]), kind="stable")
    truth = np.concatenate(flat_labels)[order]
    ordered = {
        name: np.concatenate([part for share in shares for part in share[2][name]])[order] for name, _ in reductions
    }
    return Evaluation(
        metrics={name: measure_scores(truth, found) for name, found in ordered.items()},
        clips=len(truth),
        skipped=tuple(entry for share in shares for entry in share[3]),
        labels=truth,
        scores=ordered,
    )


def describe_fault(name: str, fault: str) -> str:
    """Return what is wrong with a clip, with its name once: most faults begin with it."""
    return fault if fault.startswith(name) else f"{name}: {fault}"


def save_scores(path: Path, found: Evaluation) -> Path:
    """Write labels (uint8) and scores (float32), `labels` and `scores SCHEDULE`, each (k, c), whole or not at all."""
    tensors = {"labels": torch.from_numpy(found.labels.astype(np.uint8))}
    tensors |= {f"scores {name or 'unmerged'}": torch.from_numpy(values) for name, values in found.scores.items()}
    write_whole(path, save(tensors, {"clips": str(found.clips)}))
    return path
