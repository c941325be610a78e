"""What runs inside a cell's own process: build the model, check it, measure, answer.

This module is loaded once, in the server that the cells' processes are forked from, so that a cell does not
pay for its imports. Nothing here may start threads or touch a GPU when imported.
Shapes: `b` batch, `f` frames, `m` mel bins, `n` clips, `c` classes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.metrics  # noqa: F401  slow to import, and wanted by every quality cell
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.cell import baselines, quality
from bench.cell.answers import Answer, Context
from bench.cell.inputs import synthetic_input
from bench.cell.model_facts import describe
from bench.cell.performance import measure_performance, performance_gates
from bench.cell.training_step import autocast_to
from bench.measure import gates
from bench.measure.conditions import Watch
from bench.measure.machine import Machine, Software, default_threads, describe_machine, describe_software
from bench.measure.statistics import CLIP_REPLICATES
from bench.records import schema
from bench.records.store import hash_array
from bench.sweep.cells import Cell, ModelRef
from bench.sweep.config import DataConfig
from fastast import create_model, load_model
from fastast.data.training_set import hash_ids
from fastast.hosts import reduce
from fastast.metrics import measure_scores
from fastast.model import AudioSpectrogramTransformer


def probe(device: str, threads: int | None) -> tuple[Machine, Software]:
    """Return the facts of this machine as a cell's process sees them."""
    torch.set_num_threads(threads or default_threads())
    return describe_machine(device), describe_software()


def prepare(data: DataConfig, ref: ModelRef, cache: Path, threads: int | None, progress: bool) -> quality.FeatureSet:
    """Mix the clips and compute their features where the cache does not have them."""
    torch.set_num_threads(threads or default_threads())
    with torch.inference_mode():
        return quality.prepare_features(data, build_cell_model(ref, seed=0), cache, progress=progress)


def answer(cell: Cell, context: Context) -> Answer:
    """Measure one cell."""
    torch.set_num_threads(cell.measure.threads or default_threads())
    torch.manual_seed(cell.seed)
    training = cell.kind == "performance" and cell.measure.scope == "training_step"
    dtype = getattr(torch, cell.dtype)
    # What learns keeps its weights in float32; half precision is autocast there.
    model = build_cell_model(cell.model, seed=cell.seed).to(cell.device, torch.float32 if training else dtype).eval()
    candidate = baselines.unmerged(model)
    candidate.attention_kernel = cell.attention
    if cell.reduction is not None:
        reduce(candidate, cell.reduction, attention=cell.attention)
    with torch.inference_mode(mode=not training):
        watch, result = Watch(cell.device), Answer(machine=describe_machine(cell.device), software=describe_software())
        if cell.kind == "performance":
            performance, noisy = measure_performance(cell, model, candidate, watch)
            result = dataclasses.replace(result, performance=performance, noisy=noisy)
            conditions = watch.conditions()
            passed = performance_gates(cell, model.geometry, performance, conditions)
        else:
            result = _measure_quality(cell, _predictor(cell, model, candidate), context, result)
            conditions, passed = watch.conditions(), result.gates
    # Only now: the first calls above are the first that this process makes.
    with torch.inference_mode(), autocast_to(cell.device, dtype if training else torch.float32):
        part, attention, engine, seen = describe(cell, model, candidate, synthetic_input(cell, model, 1))
    result = dataclasses.replace(result, model=part, attention=attention, engine=engine)
    return dataclasses.replace(result, conditions=conditions, gates=seen + passed)


def build_cell_model(ref: ModelRef, *, seed: int) -> AudioSpectrogramTransformer:
    """Build the model of a cell; random weights are drawn from `seed`."""
    frames: dict[str, Any] = {} if ref.frames is None else {"num_frames": ref.frames}
    if ref.path is not None:
        return load_model(ref.path, **frames)
    torch.manual_seed(seed)
    return create_model(ref.name, **frames)


def _predictor(
    cell: Cell, model: AudioSpectrogramTransformer, candidate: AudioSpectrogramTransformer
) -> Callable[[Tensor], Tensor]:
    """Return what scores clips (b, f, m) -> (b, c): the candidate, or it on the engine that the cell asks for."""
    if cell.model.engine == "plain":
        return candidate
    return baselines.EngineArm(model, cell.reduction, quality.PREDICTION_BATCH)


def _measure_quality(cell: Cell, candidate: Callable[[Tensor], Tensor], context: Context, result: Answer) -> Answer:
    assert cell.data is not None
    assert context.features is not None
    features, labels = context.features, context.features.labels
    start = time.perf_counter()
    scores = quality.predict(candidate, features.open(), device=cell.device, dtype=cell.dtype)
    seconds = time.perf_counter() - start
    metrics = measure_scores(labels, scores)
    hashes = {"ids_sha256": hash_ids(features.ids), "labels_sha256": hash_array(labels)}
    part = schema.Quality(
        dataset=cell.data.dataset,
        split=cell.data.split,
        clips=len(features.ids),
        ids_sha256=hashes["ids_sha256"],
        clips_sha256=features.clips_sha256,
        matches_reference=features.matches_reference,
        classes=len(features.classes),
        classes_without_positives=metrics.without_positives,
        mAP=metrics.mAP,
        mAP_interval=quality.map_interval(labels, scores, seed=cell.seed),
        AUC=metrics.AUC,
        d_prime=metrics.d_prime,
        AP=_by_class(features.classes, metrics.AP),
        class_AUC=_by_class(features.classes, metrics.class_AUC),
        replicates=CLIP_REPLICATES,
        delta=_delta(cell, labels, scores, hashes, context.reference),
        seconds=seconds,
    )
    fits = gates.precision_fits_area(metrics.AP, metrics.class_AUC, labels, scores)
    return dataclasses.replace(result, quality=part, scores=scores, hashes=hashes, gates=(fits,))


def _by_class(classes: Sequence[str], values: NDArray[np.float64]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(classes, values, strict=True)}


def _delta(
    cell: Cell,
    labels: NDArray[np.uint8],
    scores: NDArray[np.float16],
    hashes: dict[str, str],
    reference: tuple[str, Path] | None,
) -> schema.Delta | None:
    """Compare with the unmerged model's stored predictions, None where there are none of these clips."""
    if reference is None:
        return None
    against, path = reference
    with np.load(path) as stored:
        if any(str(stored[name]) != value for name, value in hashes.items()):
            return None
        return quality.compare(labels, scores, stored["scores"], against=against, seed=cell.seed)
