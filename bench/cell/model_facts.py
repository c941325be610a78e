"""Facts about a cell's model, observed by running it: tokens, multiply-accumulates, the attention that ran.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.cell import baselines
from bench.cell.engines.ran import Ran, tokens_planned
from bench.cell.inputs import frontend_of, inputs_of
from bench.measure import gates
from bench.records import schema
from bench.sweep.cells import Cell
from bench.sweep.engines import find_engine
from fastast import model_macs
from fastast.attention import resolve_kernel
from fastast.attention.flash import fa4_version
from fastast.geometry import Geometry
from fastast.hosts import reduce
from fastast.kernels import interpreted
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import Constant

_BACKENDS = {
    "_scaled_dot_product_flash_attention_for_cpu": "flash_cpu",
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_efficient_attention": "efficient",
    "_scaled_dot_product_cudnn_attention": "cudnn",
    "_scaled_dot_product_attention_math": "math",
}
"""Operators that PyTorch's fused attention calls, with their names in a record."""
INT8_PRODUCTS = 4
"""Matrix products with weights per block: queries, keys and values in one; the projection; two in the MLP."""
_TRITON_ATTENTION = "attention_forward"
"""Name of the engine's kernel in a GPU profile."""
_FA4_ATTENTION = "flash_attncute"
"""Part of the names of FlashAttention-4's kernels in a profile: `kernel_cutlass_kernel_flash_attncute...`."""
_FLEX_ATTENTION = "flex_attention"
"""Part of the names of FlexAttention's operator and of the Triton kernels generated from it."""
UNSEEN = "unseen"


def describe(
    cell: Cell,
    model: AudioSpectrogramTransformer,
    candidate: AudioSpectrogramTransformer,
    fbank: Tensor,
    *,
    own: Geometry | None = None,
) -> tuple[schema.ModelFacts, schema.AttentionFacts, schema.EngineFacts | None, tuple[gates.Gate, ...]]:
    """Return facts about the model, its attention and its engine in a real forward, and their gates; fbank: (1, f, m).

    `own` is the geometry at the model's own stride, if the cell has another.
    """
    geometry = model.geometry
    reduction = cell.reduction
    planned = tokens_planned(geometry, reduction)
    ran: Ran = find_engine(cell.model.engine).ran(cell, model, candidate, reduction)
    measured = ran.tokens(fbank)
    macs = model_macs(geometry, reduction)
    counted = count_macs(model, reduction)
    part = schema.ModelFacts(
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
        macs_unmerged=model_macs(own or geometry),
    )
    attention = schema.AttentionFacts(
        asked=cell.attention,
        kernel=attention_kernel(cell, ran.engine),
        backend_ran=attention_that_ran(ran, fbank, cell.device, learns=cell.measure.scope == "training_step"),
    )
    adaptive = reduction is not None and reduction.threshold is not None
    found = [(gates.no_fewer_tokens if adaptive else gates.tokens_as_planned)(planned, measured)]
    if counted is not None:
        found.append(gates.macs_as_counted(macs, counted))
    if reduction is not None or cell.attention != "auto" or ran.engine is not None:
        difference = difference_at_zero(model, reduction, cell, fbank)
        found.append(gates.nothing_merged_is_unmerged(difference, cell.dtype))
    if cell.dtype == "int8":
        found.append(gates.products_are_int8(ran.int8_products or 0, INT8_PRODUCTS * geometry.depth))
    if ran.engine is not None and "filterbank" in ran.engine.kernels:
        found.append(gates.front_end_is_the_models(difference_by_front_end(model, cell), cell.dtype))
    return part, attention, ran.engine, tuple(found)


def count_macs(model: AudioSpectrogramTransformer, reduction: TokenReduction | None) -> int | None:
    """Return the multiply-accumulates that PyTorch counts for one clip, on the meta device.

    Attention counts as its two products, whatever kernel the cell uses: a kernel's extra work is not part of the
    algorithm. None if the reduction depends on data, through its method or a threshold, as the meta device has none.
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
    """Return the largest difference between the logits at r = 0 and the unmerged model's, relative to the largest.

    It comes from the reduction's own code paths and from the kernel or engine; fbank: (b, f, m).
    """
    nothing = None if reduction is None else dataclasses.replace(reduction, schedule=Constant(0))
    twin = baselines.unmerged(model)
    twin.attention_kernel = cell.attention
    if nothing is not None:
        reduce(twin, nothing, attention=cell.attention)
    runs = find_engine(cell.model.engine).ran(cell, baselines.unmerged(model), twin, nothing).forward
    expected = baselines.unmerged(model)(fbank).double()  # (b, c)
    return float((runs(fbank).double() - expected).abs().max() / expected.abs().max())


def difference_by_front_end(model: AudioSpectrogramTransformer, cell: Cell) -> float:
    """Return how far the engine's logits from waveforms are from those of the front end's filterbanks.

    Relative to the largest logit. The model is unmerged, because a rounding error can decide which tokens merge.
    """
    (waveforms,), (fbank,) = (inputs_of(cell, model, name, 1) for name in ("candidate", "model_alone"))
    expected = baselines.EngineArm(model, None, None)(fbank).double()  # (b, c)
    logits = baselines.EngineArm(model, None, None, frontend_of(model))(waveforms).double()
    return float((logits - expected).abs().max() / expected.abs().max())


def attention_kernel(cell: Cell, engine: schema.EngineFacts | None) -> str:
    """Return the attention kernel that the cell's `attention` resolves to, in `fastast.attention` or the engine."""
    if engine is None:
        device, dtype = torch.device(cell.device), getattr(torch, cell.dtype)
        return resolve_kernel(cell.attention, device, dtype, training=cell.measure.scope == "training_step")
    return engine.kernels["weighted_attention" if engine.path == "triton" else "attention"]


def attention_that_ran(ran: Ran, fbank: Tensor, device: str, *, learns: bool = False) -> str | None:
    """Run a forward under the profiler and return the backends of its attention, prefixed `plain:` after a fallback.

    `learns`: the forward of a training step, which may use another backend.
    """
    if ran.engine is not None and ran.engine.path in ("onnxruntime", "openvino"):
        return f"{ran.engine.path}:{ran.engine.kernels['attention']}"  # read from the runtime's own graph
    with torch.inference_mode(mode=not learns), torch.set_grad_enabled(learns):
        given = fbank.clone()  # tensors created in inference mode cannot be saved for a backward pass
        seen = backend_that_ran(lambda: ran.forward(given), device)
    if ran.engine is None:
        return seen
    if ran.engine.path == "plain":
        return f"plain:{seen}"
    # In the interpreter, kernels are Python functions, invisible to the profiler, and there is no alternative to them.
    if interpreted():
        return "triton_interpreter"
    # Without kernels from CUPTI, the profiler still sees PyTorch's matrix product in the last block.
    if ran.engine.kernels["weighted_attention"] == "fa4":
        return seen if seen is not None and seen.startswith("fa4") else "fa4_unseen"
    return "triton" if seen == "triton" else "triton_unseen"


def attention_of_arm(call: Callable[[], object], device: str) -> str:
    """Return the attention backends that the profiler sees in a call; `unseen` if it recognises none."""
    return backend_that_ran(call, device) or UNSEEN


def backend_that_ran(call: Callable[[], object], device: str) -> str | None:
    """Run `call` under the profiler and return the attention backends that it used, joined by `+`, or None."""
    from torch.profiler import ProfilerActivity, profile

    call()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with profile(activities=activities) as profiler:
        call()
    ran = {event.key.removeprefix("aten::") for event in profiler.key_averages()}
    if _TRITON_ATTENTION in ran:
        return "triton"  # any other backend belongs to the last block, where the engine computes only two tokens
    if any(_FA4_ATTENTION in name for name in ran):
        return f"fa4 {fa4_version()}"
    if any(_FLEX_ATTENTION in name for name in ran):
        return "flex"
    names = sorted({name for operator, name in _BACKENDS.items() if operator in ran})
    if names:
        return "+".join(names)
    if {"baddbmm", "_softmax"} <= ran:
        return "products"
    return "math" if {"bmm", "_softmax"} <= ran else None
