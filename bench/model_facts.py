"""What the model of a cell is and does, seen by running it: tokens, multiply-accumulates, the attention that ran.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench import baselines, records, sanity
from bench.cells import Cell
from fastast import model_macs
from fastast.attention import resolve_kernel
from fastast.engine import Engine
from fastast.kernels import interpreted
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace, TokenReduction, reduce
from fastast.schedule import Constant

_BACKENDS = {
    "_scaled_dot_product_flash_attention_for_cpu": "flash_cpu",
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_efficient_attention": "efficient",
    "_scaled_dot_product_cudnn_attention": "cudnn",
    "_scaled_dot_product_attention_math": "math",
}
"""Operators that PyTorch's fused attention calls, and what they are called in a record."""
_TRITON_ATTENTION = "attention_forward"
"""The engine's kernel, as the profiler sees it on a GPU."""


def describe(
    cell: Cell, model: AudioSpectrogramTransformer, candidate: AudioSpectrogramTransformer, fbank: Tensor
) -> tuple[records.ModelPart, records.AttentionPart, records.EnginePart | None, tuple[sanity.Gate, ...]]:
    """Return what the model is, what a real forward of it does, and the gates on that; fbank: (1, f, m)."""
    geometry = model.geometry
    reduction = cell.reduction.build() if cell.reduction is not None else None
    planned = (geometry.num_tokens,) * geometry.depth if reduction is None else reduction.tokens_per_block(geometry)
    engine = baselines.EngineArm(model, reduction, None).engine if cell.model.engine != "plain" else None
    measured = tokens_that_left(candidate if engine is None else engine, fbank)
    macs = model_macs(geometry, planned, matching=reduction is not None and reduction.method != "slice")
    counted = count_macs(model, reduction)
    part = records.ModelPart(
        name=cell.model.name,
        sha256=cell.model.sha256,
        weights="trained" if cell.model.sha256 else "random",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        geometry=dataclasses.asdict(geometry),
        tokens_in=geometry.num_tokens,
        tokens_planned=planned,
        tokens_measured=measured,
        macs_per_clip=macs,
        macs_counted=counted,
        macs_unmerged=model_macs(geometry),
    )
    attention = records.AttentionPart(
        asked=cell.attention,
        kernel=attention_kernel(cell, engine),
        backend_ran=attention_that_ran(candidate if engine is None else engine, fbank, cell.device),
    )
    gates = [sanity.tokens_as_planned(planned, measured)]
    if counted is not None:
        gates.append(sanity.macs_as_counted(macs, counted))
    if reduction is not None or cell.attention != "auto" or engine is not None:
        difference = difference_at_zero(model, reduction, cell, fbank)
        gates.append(sanity.nothing_merged_is_unmerged(difference, cell.dtype))
    if engine is None:
        return part, attention, None, tuple(gates)
    ran = records.EnginePart(path=engine.path, why_plain=engine.why_plain, kernels=dict(engine.kernels))
    return part, attention, ran, tuple(gates)


def count_macs(model: AudioSpectrogramTransformer, reduction: TokenReduction | None) -> int | None:
    """Return the multiply-accumulates that PyTorch counts of one clip, on the meta device, which has no data.

    Attention is counted as its two products, whatever kernel the cell uses: what a kernel adds is no part of the
    algorithm. None where a method of reduction looks at its data.
    """
    geometry = model.geometry
    with torch.device("meta"):
        twin = AudioSpectrogramTransformer(geometry).eval()
        clip = torch.empty(1, geometry.num_frames, geometry.num_mel_bins)
    twin.attention_kernel = "math"
    if reduction is not None:
        reduce(twin, reduction, attention="math")
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            twin(clip)
    except (NotImplementedError, RuntimeError):
        return None
    return counter.get_total_flops() // 2


def difference_at_zero(
    model: AudioSpectrogramTransformer, reduction: TokenReduction | None, cell: Cell, fbank: Tensor
) -> float:
    """Return the largest difference of logits to the unmerged model's, relative to the largest of those.

    That of the reduction where it removes nothing, and of the kernel or engine; fbank: (b, f, m).
    """
    nothing = None if reduction is None else dataclasses.replace(reduction, schedule=Constant(0))
    twin: Callable[[Tensor], Tensor]
    if cell.model.engine != "plain":
        twin = baselines.EngineArm(model, nothing, None)
    else:
        twin = plain = baselines.unmerged(model)
        plain.attention_kernel = cell.attention
        if nothing is not None:
            reduce(plain, nothing, attention=cell.attention)
    expected = baselines.unmerged(model)(fbank).double()  # (b, c)
    return float((twin(fbank).double() - expected).abs().max() / expected.abs().max())


def tokens_that_left(candidate: AudioSpectrogramTransformer | Engine, fbank: Tensor) -> tuple[int, ...]:
    """Run a forward and return the tokens that left each block; fbank: (b, f, m)."""
    if isinstance(candidate, Engine):
        return candidate.measure_tokens(fbank)
    trace = MergeTrace()
    candidate.forward_features(fbank, trace)
    return tuple(trace.tokens_per_block)


def attention_kernel(cell: Cell, engine: Engine | None) -> str:
    """Return what the attention asked for means here: `triton`, or the name that `fastast.attention` has for it."""
    if engine is None:
        return resolve_kernel(cell.attention, torch.device(cell.device))
    return engine.kernels["attention" if engine.path == "plain" else "weighted_attention"]


def attention_that_ran(candidate: AudioSpectrogramTransformer | Engine, fbank: Tensor, device: str) -> str | None:
    """Run `candidate` under the profiler and return its attention's backends; a fallback names its engine, `plain:`."""
    ran = backend_that_ran(lambda: candidate(fbank), device)
    if not isinstance(candidate, Engine):
        return ran
    if candidate.path == "plain":
        return f"plain:{ran}"
    # In the interpreter a kernel is a Python function that no profiler sees; there is no other way it could have gone.
    return "triton_interpreter" if interpreted() else ran


def backend_that_ran(call: Callable[[], object], device: str) -> str | None:
    """Run `call` under the profiler and return the attention backends that it used, joined by `+`."""
    from torch.profiler import ProfilerActivity, profile

    call()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with profile(activities=activities) as profiler:
        call()
    ran = {event.key.removeprefix("aten::") for event in profiler.key_averages()}
    if _TRITON_ATTENTION in ran:
        return "triton"  # what else ran belongs to the last block, of which the engine computes two tokens
    names = sorted({name for operator, name in _BACKENDS.items() if operator in ran})
    if names:
        return "+".join(names)
    return "math" if {"bmm", "_softmax"} <= ran else None
