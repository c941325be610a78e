"""The code that runs inside a cell's process: build the model, measure it, check it, answer.

The server from which cells' processes are forked loads this module once, so that cells do not pay for its imports.
Importing it must not start threads or touch a GPU.
Shapes: `b` batch, `f` frames, `m` mel bins, `n` clips, `c` classes.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.metrics  # noqa: F401  slow to import, and needed by every quality cell
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.cell import baselines, quality
from bench.cell.answers import Answer, Context
from bench.cell.clip_tokens import CountsTokens
from bench.cell.feature_set import FeatureSet
from bench.cell.features import prepare_features
from bench.cell.inputs import fed_dtype, synthetic_input
from bench.cell.model_facts import describe
from bench.cell.performance import measure_performance, performance_gates
from bench.cell.training_step import autocast_to
from bench.measure import gates
from bench.measure.conditions import Watch
from bench.measure.loading import Loading
from bench.measure.machine import Machine, Software, describe_machine, describe_software, describe_surroundings
from bench.records import schema
from bench.records.predictions import Predictions, read_predictions
from bench.records.store import hash_array
from bench.sweep.cells import Cell, ModelRef
from bench.sweep.complaints import too_many_threads
from bench.sweep.data import DataRef
from bench.sweep.engines import find_engine
from fastast import create_model, load_model
from fastast.checkpoints import CheckpointWarning
from fastast.commands.people import warnings_in_a_line
from fastast.data.identity import hash_ids
from fastast.data.training_set import DataWarning
from fastast.geometry import with_stride
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.scores import Loss, activation_of
from fastast.statistics import CLIP_REPLICATES
from fastast.system.allocator import MemoryPolicy
from fastast.system.processors import most_threads, usable_threads
from fastast.system.runtime import set_up
from fastast.training.evaluation.rates import Stopwatch


def probe(device: str, threads: int | None) -> tuple[Machine, Software]:
    """Describe this machine as a cell's process sees it."""
    _set_up(threads)
    return describe_machine(device), describe_software()


def prepare(data: DataRef, ref: ModelRef, cache: Path, threads: int | None, progress: bool) -> FeatureSet:
    """Read the clips and compute their features unless they are cached."""
    _set_up(threads)
    with warnings_in_a_line(), torch.inference_mode():
        warnings.simplefilter("ignore", DataWarning)  # already shown when the sweep was expanded
        return prepare_features(data, build_cell_model(ref, seed=0), cache, progress=progress)


def answer(cell: Cell, context: Context) -> Answer:
    """Measure one cell."""
    _set_up(cell.measure.threads, cell.measure.allocator)
    torch.manual_seed(cell.seed)
    training = cell.kind == "performance" and cell.measure.scope == "training_step"
    dtype = fed_dtype(cell.dtype)
    # Training keeps weights in float32; half precision is autocast.
    kept = torch.float32 if training else dtype
    model = build_cell_model(cell.model, seed=cell.seed).to(cell.device, kept).eval()
    own = model
    if cell.model.stride is not None:
        own = build_cell_model(cell.model.as_trained(), seed=cell.seed).to(cell.device, kept).eval()
    candidate = baselines.unmerged(model)
    candidate.attention_kernel = cell.attention
    if cell.reduction is not None:
        reduce(candidate, cell.reduction, attention=cell.attention)
    predictor: Callable[[Tensor], Tensor] | None = None
    with torch.inference_mode(mode=not training):
        watch = Watch(cell.device)
        result = Answer(
            machine=describe_machine(cell.device),
            software=describe_software(),
            surroundings=describe_surroundings(),
        )
        if cell.kind == "performance":
            performance, noisy = measure_performance(cell, model, candidate, watch, own=own)
            result = dataclasses.replace(result, performance=performance, noisy=noisy)
            conditions = watch.conditions()
            passed = performance_gates(cell, model.geometry, performance, conditions, own=own.geometry)
        else:
            predictor = _predictor(cell, model, candidate, context)
            result = _measure_quality(cell, predictor, model.loss, context, result)
            conditions, passed = watch.conditions(), result.gates
    # Not earlier: the first calls timed above must be the first in this process.
    with torch.inference_mode(), autocast_to(cell.device, dtype if training else torch.float32):
        fbank = synthetic_input(cell, model, 1)
        part, attention, engine, seen = describe(cell, model, candidate, fbank, own=own.geometry)
    if isinstance(predictor, CountsTokens):
        part = predictor.of_clips(part)
    result = dataclasses.replace(result, model=part, attention=attention, engine=engine)
    return dataclasses.replace(result, conditions=conditions, gates=seen + passed)


def _set_up(threads: int | None, allocator: MemoryPolicy = "kept") -> None:
    """Set the threads and allocator of this process. Raises ValueError for more threads than can run at once."""
    most = most_threads()
    if threads is not None and threads > most:
        raise ValueError(too_many_threads(threads, most))
    set_up(threads=threads or usable_threads(), memory=allocator)


def build_cell_model(ref: ModelRef, *, seed: int) -> AudioSpectrogramTransformer:
    """Build the model of a cell; random weights are drawn from `seed`."""
    shape: dict[str, Any] = {} if ref.frames is None else {"num_frames": ref.frames}
    said = dict(ref.geometry)
    if ref.path is not None:
        warnings.simplefilter("ignore", CheckpointWarning)  # already shown when the sweep was expanded
        return load_model(ref.path, normalisation=ref.normalisation, geometry=said, stride=ref.stride, **shape)
    torch.manual_seed(seed)
    shape = said | with_stride(ref.stride, shape)
    return create_model(ref.name, **shape)


def _predictor(
    cell: Cell, model: AudioSpectrogramTransformer, candidate: AudioSpectrogramTransformer, context: Context
) -> Callable[[Tensor], Tensor]:
    """Return the function that scores clips, (b, f, m) -> (b, c): the candidate, on the cell's engine if it has one."""
    if cell.model.own_length:
        assert context.features is not None
        return CountsTokens(candidate, cell.reduction, context.features.frames)
    if cell.reduction is not None and cell.reduction.threshold is not None:
        return CountsTokens(candidate, cell.reduction)
    if cell.model.engine == "plain":
        return candidate
    engine = find_engine(cell.model.engine)
    return engine.arm(cell, model, cell.reduction, batch_size=quality.PREDICTION_BATCH if engine.on_gpus else None)


def _measure_quality(
    cell: Cell, candidate: Callable[[Tensor], Tensor], loss: Loss | None, context: Context, result: Answer
) -> Answer:
    """Score the clips; `loss` is the one that the model was trained with."""
    assert cell.data is not None
    assert context.features is not None
    features, labels = context.features, context.features.labels
    activation = activation_of(loss, cell.model.activation)
    start, watch = time.perf_counter(), Stopwatch(torch.device(cell.device))
    logits = quality.predict_logits(
        candidate, features.open(), device=cell.device, dtype=cell.dtype, columns=cell.model.columns, watch=watch
    )
    seconds = time.perf_counter() - start
    counted, parts = watch.result()
    found = quality.Assessment(labels, Predictions(logits, activation), features.task)
    metrics = found.metrics
    hashes = {"ids_sha256": hash_ids(features.ids), "labels_sha256": hash_array(labels)}
    part = schema.Quality(
        dataset=cell.data.dataset,
        split=cell.data.split,
        task=features.task,
        clips=len(features.ids),
        skipped=tuple(features.skipped),
        cut=features.cut,
        reading=features.reading,
        ids_sha256=hashes["ids_sha256"],
        clips_sha256=features.clips_sha256,
        matches_reference=features.matches_reference,
        activation=activation,
        columns=cell.model.columns,
        classes=len(features.classes),
        classes_without_positives=metrics.without_positives,
        mAP=metrics.mAP,
        mAP_interval=found.map_interval,
        AUC=metrics.AUC,
        d_prime=metrics.d_prime if np.isfinite(metrics.d_prime) else None,
        accuracy=found.accuracy,
        accuracy_interval=found.accuracy_interval,
        AP=_by_class(features.classes, metrics.AP),
        class_AUC=_by_class(features.classes, metrics.class_AUC),
        replicates=CLIP_REPLICATES,
        delta=_delta(found, hashes, context.reference),
        clip_tokens=candidate.summary() if isinstance(candidate, CountsTokens) else None,
        seconds=seconds,
        loading=Loading(
            preparation=features.preparation,
            reused=features.reused,
            clips=counted,
            cached_seconds=parts["loading"],
            model_seconds=parts["model"],
        ),
    )
    if not np.isfinite(metrics.AUC):
        raise ValueError("quality: no class has clips with it and clips without it; measure on more clips")
    fits = gates.precision_fits_area(metrics.AP, metrics.class_AUC, labels, found.predictions.ranking)
    return dataclasses.replace(result, quality=part, predictions=found.predictions, hashes=hashes, gates=(fits,))


def _by_class(classes: Sequence[str], values: NDArray[np.float64]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(classes, values, strict=True)}


def _delta(
    found: quality.Assessment, hashes: dict[str, str], reference: tuple[str, Path] | None
) -> schema.Delta | None:
    """Compare with the unmerged model's stored predictions; None if there are none for these clips."""
    if reference is None:
        return None
    against, path = reference
    stored, of = read_predictions(path)
    if of != hashes:
        return None
    return found.minus(dataclasses.replace(found, predictions=stored), against=against)
