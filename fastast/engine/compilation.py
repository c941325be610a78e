"""`compile`: checks its arguments and returns an engine, on the kernels where they can run, else in plain torch.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from fastast.attention.flash import require_flash
from fastast.engine.choosing import why_not_reduction
from fastast.engine.engine import Engine
from fastast.engine.kernel_table import triton_kernels
from fastast.engine.waveforms import check_frontend
from fastast.hosts import adapter_of
from fastast.kernels import interpreted, why_not
from fastast.reduction import ReductionError, TokenReduction
from fastast.reduction.spec import check_reduction
from fastast.system.devices import find_device

if TYPE_CHECKING:
    from fastast.frontend import Frontend

ENGINE_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
"""Dtypes that the kernels support; float64 runs in plain torch, except in Triton's interpreter."""
ENGINE_ATTENTION = ("auto", "fa4")
"""Attention kernels: the engine's own, or FlashAttention-4 where it is installed and can run."""


class EngineFallbackWarning(UserWarning):
    """The kernels cannot run here, so the engine uses the model's plain-torch forward."""


def compile(
    model: nn.Module,
    reduction: TokenReduction | None = None,
    *,
    batch_size: int | Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    frontend: Frontend | None = None,
    attention: str = "auto",
) -> Engine:
    """Compile `model` with `reduction` into an `Engine`, a callable from filterbanks (b, f, m) to logits (b, c).

    `model` is FastAST's own or any other that has a host (`fastast.hosts`): Hugging Face's AST, or one of timm's vision
    transformers with one input channel, which sees a filterbank as an image with frequency upwards.

    With a `frontend`, the engine takes waveforms: the filterbank runs on its kernel too, inside the captured graphs.
    The check for NaN makes the host wait for the device; `fastast.Frontend(..., check=False)` skips it, and the logits
    of a clip with NaN are then meaningless.

    The engine copies the current weights and leaves the model unchanged. Without `reduction`, it does what the model
    does now: it uses the reduction attached to it, or none. Every batch size in `batch_size`, one or several, is
    captured as a CUDA graph; other batches run eagerly. `dtype` and `device` default to the model's; the device "auto"
    is a GPU where one is available. `attention` "fa4" runs attention on FlashAttention-4 (the extra `fa4`; half
    precision; a GPU of the Hopper or Blackwell generation) instead of the engine's own kernel.

    Where the kernels cannot run (on a CPU, on a GPU without Triton, with a method they do not support, in float64), the
    engine runs the plain-torch forward (and front end) without graphs, gives the reason in `engine.why_plain`, and
    issues an EngineFallbackWarning, once per process for each reason.

    Raises ValueError for a model in training mode, a batch size below 1, a dtype that is not floating-point, a device
    that is not available, a front end that does not match the model, or an unknown `attention`, ReductionError for an
    impossible reduction or a second one, and MissingAttentionError where FlashAttention-4 is requested but cannot run.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("compile: the model is in training mode; call model.eval() first, an engine is for inference")
    if reduction is not None:
        check_reduction(reduction, "compile")
    sizes, host = _batch_sizes(batch_size), adapter_of(model)
    parameter = next(model.parameters())
    dtype, device = dtype or parameter.dtype, _indexed(find_device(device or parameter.device, what="compile: device"))
    if frontend is not None:
        check_frontend(frontend, host.fbank_shape)
    if not dtype.is_floating_point:
        raise ValueError(f"compile: dtype is {dtype}; give torch.bfloat16, torch.float16 or torch.float32")
    if reduction is None:
        reduction = host.attached.reduction if host.attached else None
    elif host.attached is not None:
        raise ReductionError(
            f"compile: the model is reduced already ({host.attached.reduction}); remove() that handle first, or "
            "compile without a reduction to keep it"
        )
    if attention not in ENGINE_ATTENTION:
        raise ValueError(f"compile: attention is {attention!r}; allowed: {', '.join(ENGINE_ATTENTION)}")
    if attention == "fa4":
        require_flash("fa4", device, dtype)
    if reduction is not None:
        reduction.removals(host.encoder)  # raises for an impossible reduction before anything is copied
    reason = why_not_reduction(reduction) or host.packable() or why_not_dtype(dtype) or why_not(device)
    if reason:
        _warn_once(reason)
    return Engine(
        model,
        reduction,
        dtype=dtype,
        device=device,
        batch_sizes=sizes,
        kernels=None if reason else triton_kernels(dtype, attention),
        why_plain=reason,
        frontend=frontend,
        attention=attention,
    )


def why_not_dtype(dtype: torch.dtype) -> str:
    """Return the reason why the kernels do not run in a dtype, as a sentence; an empty string where they do."""
    if dtype in ENGINE_DTYPES or (dtype == torch.float64 and interpreted()):
        return ""
    return f"the kernels do not support {str(dtype).removeprefix('torch.')}"


def _warn_once(reason: str) -> None:
    """Warn about the fallback, once per process for each reason: a sweep over reductions compiles hundreds of times."""
    if reason not in _SAID:
        _SAID.add(reason)
        message = f"compile: {reason}. The engine runs the model's forward in plain torch"
        warnings.warn(message, EngineFallbackWarning, stacklevel=3)


_SAID: set[str] = set()


def _batch_sizes(batch_size: int | Sequence[int] | None) -> tuple[int, ...]:
    sizes = () if batch_size is None else (batch_size,) if isinstance(batch_size, int) else tuple(batch_size)
    for size in sizes:
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"compile: batch_size is {batch_size!r}; give whole numbers of at least 1")
    return sizes


def _indexed(device: torch.device) -> torch.device:
    """Return `device` with its index: `cuda` means the device that is current now, not at a later call."""
    if device.type == "cuda" and device.index is None and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return device
