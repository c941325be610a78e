"""What runs inside a cell's own process: build the model, check it, measure, answer.

This module is loaded once, in the server that the cells' processes are forked from, so that a cell does not
pay for its imports. Nothing here may start threads or touch a GPU when imported.
Shapes: `b` batch, `f` frames, `m` mel bins, `n` clips, `c` classes.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.metrics  # noqa: F401  slow to import, and wanted by every quality cell
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import baselines, quality, records
from bench.answers import Answer, Context
from bench.cells import Cell, ModelRef
from bench.machine import Machine, Software, default_threads, describe_machine, describe_software
from bench.statistics import CLIP_REPLICATES
from bench.store import hash_array, hash_ids
from bench.sweep import DataConfig
from bench.timing import Clock, CudaClock, TimingRule, WallClock, measure
from fastast import create_model, load_model, model_macs
from fastast.attention import resolve_kernel
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace, reduce

_BACKENDS = {
    "_scaled_dot_product_flash_attention_for_cpu": "flash_cpu",
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_efficient_attention": "efficient",
    "_scaled_dot_product_cudnn_attention": "cudnn",
    "_scaled_dot_product_attention_math": "math",
}
"""Operators that PyTorch's fused attention calls, and what they are called in a record."""


def probe(device: str, threads: int | None) -> tuple[Machine, Software]:
    """Return the facts of this machine as a cell's process sees them."""
    torch.set_num_threads(threads or default_threads())
    return describe_machine(device), describe_software()


def prepare(data: DataConfig, ref: ModelRef, cache: Path, threads: int | None, progress: bool) -> quality.FeatureSet:
    """Mix the clips and compute their features where the cache does not have them."""
    torch.set_num_threads(threads or default_threads())
    with torch.inference_mode():
        return quality.prepare_features(data, build_model(ref, seed=0), cache, progress=progress)


def answer(cell: Cell, context: Context) -> Answer:
    """Measure one cell."""
    torch.set_num_threads(cell.measure.threads or default_threads())
    torch.manual_seed(cell.seed)
    model = build_model(cell.model, seed=cell.seed).to(cell.device, getattr(torch, cell.dtype)).eval()
    candidate = baselines.unmerged(model)
    candidate.attention_kernel = cell.attention
    if cell.reduction is not None:
        reduce(candidate, cell.reduction.build(), attention=cell.attention)
    with torch.inference_mode():
        fbank = synthetic_input(cell, model, cell.batch_size or 1)
        part, attention = describe(cell, model, candidate, fbank[:1])
        result = Answer(
            machine=describe_machine(cell.device), software=describe_software(), model=part, attention=attention
        )
        if cell.kind == "performance":
            return _measure_performance(cell, model, candidate, fbank, result)
        return _measure_quality(cell, candidate, context, result)


def build_model(ref: ModelRef, *, seed: int) -> AudioSpectrogramTransformer:
    """Build the model of a cell; random weights are drawn from `seed`."""
    frames: dict[str, Any] = {} if ref.frames is None else {"num_frames": ref.frames}
    if ref.path is not None:
        return load_model(ref.path, **frames)
    torch.manual_seed(seed)
    return create_model(ref.name, **frames)


def synthetic_input(cell: Cell, model: AudioSpectrogramTransformer, batch_size: int) -> Tensor:
    """Return normal noise (b, f, m) from the cell's seed, on its device and in its dtype."""
    geometry = model.geometry
    shape = (batch_size, geometry.num_frames, geometry.num_mel_bins)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(cell.seed))
    return noise.to(cell.device, getattr(torch, cell.dtype))


def describe(
    cell: Cell, model: AudioSpectrogramTransformer, candidate: AudioSpectrogramTransformer, fbank: Tensor
) -> tuple[records.ModelPart, records.AttentionPart]:
    """Return what the model is and what a real forward of it does; fbank: (1, f, m)."""
    geometry = model.geometry
    planned = (geometry.num_tokens,) * geometry.depth
    if cell.reduction is not None:
        planned = cell.reduction.build().tokens_per_block(geometry)
    trace = MergeTrace()
    candidate.forward_features(fbank, trace)
    if tuple(trace.tokens_per_block) != planned:
        raise RuntimeError(f"tokens that left each block are {trace.tokens_per_block}, planned were {list(planned)}")
    part = records.ModelPart(
        name=cell.model.name,
        sha256=cell.model.sha256,
        weights="trained" if cell.model.sha256 else "random",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        geometry=dataclasses.asdict(geometry),
        tokens_in=geometry.num_tokens,
        tokens_planned=planned,
        tokens_measured=tuple(trace.tokens_per_block),
        macs_per_clip=model_macs(geometry, trace.tokens_per_block, matching=_matches(cell)),
        macs_unmerged=model_macs(geometry),
    )
    attention = records.AttentionPart(
        asked=cell.attention,
        kernel=resolve_kernel(cell.attention, torch.device(cell.device)),
        backend_ran=backend_that_ran(lambda: candidate(fbank), cell.device),
    )
    return part, attention


def _matches(cell: Cell) -> bool:
    return cell.reduction is not None and cell.reduction.method != "slice"


def backend_that_ran(call: Callable[[], object], device: str) -> str | None:
    """Run `call` under the profiler and return the attention backends that it used, joined by `+`."""
    from torch.profiler import ProfilerActivity, profile

    call()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with profile(activities=activities) as profiler:
        call()
    ran = {event.key.removeprefix("aten::") for event in profiler.key_averages()}
    names = sorted({name for operator, name in _BACKENDS.items() if operator in ran})
    if names:
        return "+".join(names)
    return "math" if {"bmm", "_softmax"} <= ran else None


def _measure_performance(
    cell: Cell,
    model: AudioSpectrogramTransformer,
    candidate: AudioSpectrogramTransformer,
    fbank: Tensor,
    result: Answer,
) -> Answer:
    arms = build_arms(cell, model, candidate)
    calls: dict[str, Callable[[], object]] = {name: partial(arm, fbank) for name, arm in arms.items()}
    rule = TimingRule(
        **{
            field.name: getattr(cell.measure, field.name)
            for field in dataclasses.fields(TimingRule)
            if hasattr(cell.measure, field.name)
        }
    )
    clock: Clock = CudaClock() if cell.device == "cuda" else WallClock()
    timing = measure(calls, rule, clock)
    kind, memory = _memory(calls, cell.device)
    assert cell.batch_size is not None
    performance = records.Performance(
        clock=timing.clock,
        batch_size=cell.batch_size,
        input="normal noise on the device; the model's forward is timed, without features or copies",
        warmup=records.Warmup(
            rule=str(rule),
            iterations={name: len(arm.warmup_seconds) for name, arm in timing.arms.items()},
            stable={name: arm.warmup_stable for name, arm in timing.arms.items()},
        ),
        noise=records.Noise(value=timing.noise, limit=rule.noise_limit, attempts=tuple(timing.noise_attempts)),
        rounds=timing.rounds,
        arms={
            name: records.Arm(seconds=tuple(arm.seconds), iterations_per_round=arm.iterations_per_round)
            for name, arm in timing.arms.items()
        },
        memory=records.Memory(kind=kind, arms=memory),
    )
    return dataclasses.replace(result, performance=performance, noisy=timing.noisy)


def build_arms(
    cell: Cell, model: AudioSpectrogramTransformer, candidate: AudioSpectrogramTransformer
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return candidate and baselines, all over the same weights.

    Of the unmerged model, the arm `unmerged` is the same model again: its ratio shows the noise of the machine.
    """
    arms: dict[str, Callable[[Tensor], Tensor]] = {"candidate": candidate}
    reduction = cell.reduction.build() if cell.reduction else None
    for name in cell.question["measure"]["baselines"]:
        if name == "unmerged":
            arms[name] = baselines.unmerged(model)
        elif name == "slice" and reduction is not None:
            arms[name] = baselines.sliced(model, reduction.schedule)
        elif name == "tome_plain":
            removals = reduction.removals(model.geometry) if reduction else (0,) * model.geometry.depth
            proportional = reduction.proportional if reduction else True
            arms[name] = baselines.PlainToMe(model, removals, proportional=proportional)
    return arms


def _memory(calls: dict[str, Callable[[], object]], device: str) -> tuple[str, dict[str, records.ArmMemory]]:
    """Return what was read and the memory of one forward of every arm."""
    if device == "cuda":
        return "PyTorch's CUDA allocator", {name: _cuda_memory(call) for name, call in calls.items()}
    arms = {name: _resident_memory(call) for name, call in calls.items()}
    measured = all(arm.peak_bytes is not None for arm in arms.values())
    return "resident set of the process" if measured else "not measured", arms


def _cuda_memory(call: Callable[[], object]) -> records.ArmMemory:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return records.ArmMemory(
        before_bytes=before,
        peak_bytes=torch.cuda.max_memory_allocated(),
        reserved_bytes=torch.cuda.max_memory_reserved(),
    )


def _resident_memory(call: Callable[[], object]) -> records.ArmMemory:
    """Return the resident set before and at most while `call` runs; None where the counter cannot be set back."""
    before = peak = None
    with contextlib.suppress(OSError, AttributeError):  # another system than Linux with glibc
        ctypes.CDLL(None).malloc_trim(0)  # what earlier arms freed is still resident
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        call()
        peak = _status("VmHWM")
    return records.ArmMemory(before_bytes=before, peak_bytes=peak, reserved_bytes=None)


def _status(name: str) -> int:
    """Return an entry of /proc/self/status, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def _measure_quality(cell: Cell, candidate: AudioSpectrogramTransformer, context: Context, result: Answer) -> Answer:
    assert cell.data is not None
    assert context.features is not None
    features, labels = context.features, context.features.labels
    start = time.perf_counter()
    scores = quality.predict(candidate, features.open(), device=cell.device, dtype=cell.dtype)
    seconds = time.perf_counter() - start
    metrics = quality.evaluate(labels, scores)
    hashes = {"ids_sha256": hash_ids(features.ids), "labels_sha256": hash_array(labels)}
    part = records.Quality(
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
        AP={
            name: None if np.isnan(value) else float(value)
            for name, value in zip(features.classes, metrics.AP, strict=True)
        },
        replicates=CLIP_REPLICATES,
        delta=_delta(cell, labels, scores, hashes, context.reference),
        seconds=seconds,
    )
    return dataclasses.replace(result, quality=part, scores=scores, hashes=hashes)


def _delta(
    cell: Cell,
    labels: NDArray[np.uint8],
    scores: NDArray[np.float16],
    hashes: dict[str, str],
    reference: tuple[str, Path] | None,
) -> records.Delta | None:
    """Compare with the unmerged model's stored predictions, None where there are none of these clips."""
    if reference is None:
        return None
    against, path = reference
    with np.load(path) as stored:
        if any(str(stored[name]) != value for name, value in hashes.items()):
            return None
        return quality.compare(labels, scores, stored["scores"], against=against, seed=cell.seed)
