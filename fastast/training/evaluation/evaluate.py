"""Compute logits and metrics of a model on a split, under several schedules at once.

Shapes: `b` batch, `f` frames, `m` mel bins, `k` clips, `c` classes.
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
from torch import Tensor, nn

from fastast.data.augment import Augmentation
from fastast.data.identity import hash_ids
from fastast.data.sampling import in_order, load_batches
from fastast.data.training_set import Batch, TrainingSet
from fastast.frontend import Frontend
from fastast.frontend.filterbank import num_frames
from fastast.hosts import reduce
from fastast.metrics import Metrics, measure_scores
from fastast.own_length import OwnLengths
from fastast.reduction import TokenReduction
from fastast.scores import Activation, to_ranking
from fastast.system.writing import write_whole
from fastast.training.distributed import World
from fastast.training.evaluation.rates import Rates, Stopwatch, rates_of
from fastast.training.precision import autocast
from fastast.training.recipe.reductions import reducible


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Result of evaluating a model on a split."""

    metrics: dict[str, Metrics]
    """Metrics by schedule; the empty text stands for the unmerged model."""
    clips: int
    """Number of clips scored."""
    skipped: tuple[tuple[str, str], ...]
    """Name and fault of each corrupt clip that was left out."""
    labels: NDArray[np.float32]
    """Labels (k, c), in the order of the split."""
    logits: dict[str, NDArray[np.float32]]
    """Logits (k, c) by schedule, in the order of the split and of the data's classes."""
    activation: Activation
    """Activation that turns logits into scores; the metrics are those of the scores, but without ties by saturation."""
    cut: int
    """Number of clips longer than the model's input, whose ends were not heard."""
    ids: tuple[str, ...]
    """Ids of the clips scored, in the order of the split."""
    rates: Rates
    """Clips per second that were read, and that the model processed."""

    @property
    def ids_sha256(self) -> str:
        """SHA-256 of the ids: evaluations with equal hashes scored the same clips."""
        return hash_ids(self.ids)


@contextmanager
def merged(model: nn.Module, reduction: TokenReduction | None) -> Iterator[None]:
    """Attach a reduction for the duration of the block; None leaves the model as it is."""
    if reduction is None:
        yield
        return
    with reduce(model, reduction):
        yield


def evaluate(
    model: nn.Module,
    data: TrainingSet,
    frontend: Frontend,
    reductions: Sequence[tuple[str, TokenReduction | None]] = (("", None),),
    *,
    activation: Activation = "sigmoid",
    columns: Sequence[int] | None = None,
    world: World | None = None,
    batch_size: int = 32,
    workers: int = 0,
    precision: str = "float32",
    own_length: bool = False,
) -> Evaluation:
    """Score a split under every named reduction, reading each clip once; corrupt clips are named and left out.

    `activation` is the one that belongs to the loss the model was trained with; `columns` gives the index of the
    model's output for each class of the data (`fastast.classes`), None if the order is the same. Every process of
    `world` scores its share, and all of them get the result. The model keeps its mode. With `own_length`, clips shorter
    than the model's input run with fewer tokens instead of being padded (`fastast.own_length`).
    Raises ValueError if no clip can be scored, scores are not finite, or two reductions have the same name;
    ReductionError if a clip at its own length has too few tokens for a reduction.
    """
    names = [name for name, _ in reductions]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"evaluate: {twice[0] or 'unmerged'!r} is given twice; give every reduction its own name")
    world = world or World()
    training = model.training
    model.eval()
    logits: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    labels: list[NDArray[np.float32]] = []
    indices: list[NDArray[np.int64]] = []
    skipped: list[tuple[str, str]] = []
    cut = 0
    watch = Stopwatch(world.device)
    lengths = OwnLengths(reducible(model)) if own_length else None
    positions = in_order(len(data), batch_size, rank=world.rank, world_size=world.size)
    try:
        for batch in load_batches(data, positions, workers=workers, replace=False):
            skipped += batch.skipped
            if not len(batch.indices):
                continue
            labels.append(batch.labels.numpy())
            indices.append(batch.indices.numpy())
            watch.add("reading", batch.seconds)
            frames = _frames(batch)
            cut += sum(count > frontend.num_frames for count in frames)
            with watch.part("filterbank"):
                fbank = Augmentation.plain(batch.to(world.device), frontend)  # (b, f, m)
            if precision == "float64":
                fbank = fbank.double()
            for name, reduction in reductions:
                with torch.inference_mode(), autocast(world.device, precision), watch.part(f"model {name}"):
                    if lengths is None:
                        with merged(reducible(model), reduction):
                            found = model(fbank).float().cpu().numpy()  # (b, c)
                    else:
                        found = _at_own_lengths(lengths, fbank, frames, reduction)
                logits[name].append(found if columns is None else found[:, list(columns)])
            watch.end_batch(len(batch.indices))
    finally:
        model.train(training)
    shares = world.gather((labels, indices, logits, skipped, watch.result(), cut))
    flat_labels = [part for share in shares for part in share[0]]
    if not flat_labels:
        faults = [describe_fault(*entry) for share in shares for entry in share[3]]
        raise ValueError("evaluate: no clip could be read" + f"; the first says: {faults[0]}" * bool(faults))
    # In the order of the split, so that ties, and thus metrics, do not depend on the number of processes.
    places = np.concatenate([part for share in shares for part in share[1]])
    order = np.argsort(places, kind="stable")
    truth = np.concatenate(flat_labels)[order]
    ordered = {name: np.concatenate([part for share in shares for part in share[2][name]])[order] for name in names}
    return Evaluation(
        metrics={name: measure_scores(truth, to_ranking(found, activation)) for name, found in ordered.items()},
        clips=len(truth),
        skipped=tuple(entry for share in shares for entry in share[3]),
        labels=truth,
        logits=ordered,
        activation=activation,
        cut=sum(share[5] for share in shares),
        ids=tuple(data.id(int(index)) for index in places[order]),
        rates=rates_of([share[4] for share in shares], names, workers=workers),
    )


def _frames(batch: Batch) -> list[int]:
    """Return the number of frames of each clip of a batch, before any padding."""
    counts = [int(length) for length in batch.lengths]
    return [num_frames(count) for count in counts] if batch.features is None else counts


def _at_own_lengths(
    lengths: OwnLengths, fbank: Tensor, frames: list[int], reduction: TokenReduction | None
) -> NDArray[np.float32]:
    """Return the logits (b, c) of clips with the given `frames`, run without their padding in `fbank` (b, f, m)."""
    rows, parts = [], []
    for length, group in lengths.groups(frames):
        model = lengths.model(length)
        with merged(model, reduction):
            parts.append(model(fbank[group, :length]).float().cpu().numpy())
        rows += group
    return np.concatenate(parts)[np.argsort(rows)]


def describe_fault(name: str, fault: str) -> str:
    """Return a clip's name and fault as one text; most faults already begin with the name."""
    return fault if fault.startswith(name) else f"{name}: {fault}"


def save_scores(path: Path, found: Evaluation) -> Path:
    """Write `labels` (uint8) and `logits SCHEDULE` (float32), each (k, c), whole or not at all, and return the path.

    The header states the `activation` that turns logits into scores. Older files hold sigmoids, `scores SCHEDULE`.
    """
    tensors = {"labels": torch.from_numpy(found.labels.astype(np.uint8))}
    tensors |= {f"logits {name or 'unmerged'}": torch.from_numpy(values) for name, values in found.logits.items()}
    notes = {"clips": str(found.clips), "activation": found.activation, "ids_sha256": found.ids_sha256}
    write_whole(path, save(tensors, notes))
    return path
