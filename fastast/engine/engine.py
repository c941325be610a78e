"""`compile`: a model and a reduction become a callable that runs as fast as the device allows.

Shapes: `b` batch, `s` samples, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from fastast.attention import resolve_kernel
from fastast.engine.forward import forward
from fastast.engine.graphs import CapturedForward
from fastast.engine.inputs import Filterbanks, Input
from fastast.engine.route import plan_route, why_not_reduction
from fastast.engine.stages import Stages, triton_stages
from fastast.engine.waveforms import Clips, KernelWaveforms, PlainWaveforms, check_frontend
from fastast.engine.weights import pack
from fastast.geometry import Geometry
from fastast.kernels import interpreted, why_not
from fastast.reduction import MergeTrace, ReductionError, TokenReduction, reduce

if TYPE_CHECKING:
    from fastast.frontend import Frontend
    from fastast.model import AudioSpectrogramTransformer

ENGINE_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
"""Dtypes of the kernels; float64 runs in plain torch."""


class EngineFallbackWarning(UserWarning):
    """The kernels cannot run here: the engine uses the model's plain-torch forward."""


class Engine:
    """A compiled model: filterbank (b, f, m), or with a front end waveforms (b, s), -> logits (b, c), for inference.

    Made by `fastast.compile`. Not for several threads or CUDA streams at once: its graphs share buffers.
    """

    path: Literal["triton", "plain"]
    """What runs: the fused kernels, or the model's own forward in plain torch."""
    why_plain: str
    """Why the kernels do not run, as a sentence; empty where they do."""
    kernels: dict[str, str]
    """What each stage really runs on; for the plain path the attention kernel, as `fastast.attention` names it, and the
    `filterbank` where there is a front end."""
    geometry: Geometry
    reduction: TokenReduction | None
    """The reduction that was compiled in."""
    tokens_per_block: tuple[int, ...]
    """Tokens that leave each block."""
    frontend: Frontend | None
    """What the engine computes filterbanks as; without one it takes filterbanks."""
    dtype: torch.dtype
    device: torch.device
    batch_sizes: tuple[int, ...]
    """Batch sizes that run as captured CUDA graphs; any other runs eagerly."""

    def __init__(
        self,
        model: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
        *,
        dtype: torch.dtype,
        device: torch.device,
        batch_sizes: Sequence[int],
        stages: Stages | None,
        why_plain: str,
        frontend: Frontend | None = None,
    ) -> None:
        """Build an engine over `stages`, or over the plain model where these are None; `compile` is the way to."""
        self.geometry = model.geometry
        self.reduction, self.frontend = reduction, frontend
        self.tokens_per_block = (
            (model.geometry.num_tokens,) * model.geometry.depth
            if reduction is None
            else reduction.tokens_per_block(model.geometry)
        )
        self.dtype, self.device, self.why_plain = dtype, device, why_plain
        self._forward: Callable[[Tensor], Tensor]
        with torch.inference_mode(False):
            self._input = _input(frontend, model.geometry, dtype, device, plain=stages is None)
        if stages is None:
            self.path = "plain"
            kernel = model.attention_kernel
            with torch.inference_mode(False):
                self._forward = _plain_twin(model, reduction, kernel).to(device, dtype)
            self.kernels = self._input.names | {"attention": resolve_kernel(kernel, device)}
        else:
            self.path = "triton"
            weights = pack(model, dtype=dtype, device=device)
            self._forward = partial(forward, weights, plan_route(model.geometry, reduction), stages)
            self.kernels = self._input.names | stages.names
        self._captured = None
        if stages is not None and device.type == "cuda" and batch_sizes:
            with torch.inference_mode(False), torch.no_grad():
                buffers = self._input.buffers(max(batch_sizes))
                self._captured = CapturedForward(self._logits, batch_sizes, buffers, device=device)
        self.batch_sizes = self._captured.batch_sizes if self._captured else ()

    def __call__(self, clips: Clips) -> Tensor:
        """Return the logits (b, c) of a normalised filterbank (b, f, m), in the engine's dtype on its device.

        An engine with a front end takes waveforms, as `fastast.Frontend` does: (b, s) at 16 kHz, or a list of clips of
        any lengths. What it is given is moved and rounded to the engine's device and dtype where it has others. Raises
        ValueError for another shape, and for waveforms as the front end does.
        """
        # Not inference mode: its tensors could not be written into by a call outside of it.
        with torch.inference_mode(False), torch.no_grad():
            read = self._input.read(clips)
            if self._captured is not None and len(read[0]) in self.batch_sizes:
                return self._captured(*read)
            return self._logits(*read)

    def eagerly(self, clips: Clips) -> Tensor:
        """Return the same logits without a graph, whatever the batch; shapes and errors as for a call."""
        with torch.inference_mode(False), torch.no_grad():
            return self._logits(*self._input.read(clips))

    def measure_tokens(self, clips: Clips) -> tuple[int, ...]:
        """Run eagerly and return the tokens that left each block.

        Where the kernels compute only the head's tokens of the last block, that block's number is the planned one.
        """
        with torch.inference_mode(False), torch.no_grad():
            fbank = self._input.fbank(*self._input.read(clips))
            if self.path == "plain":
                trace = MergeTrace()
                self._forward.forward_features(fbank, trace)  # type: ignore[attr-defined]
                return tuple(trace.tokens_per_block)
            tokens: list[int] = []
            self._forward(fbank, tokens=tokens)  # type: ignore[call-arg]
            return tuple(tokens) + self.tokens_per_block[len(tokens) :]

    def _logits(self, *read: Tensor) -> Tensor:
        return self._forward(self._input.fbank(*read))

    def __repr__(self) -> str:
        what = "unmerged" if self.reduction is None else str(self.reduction)
        graphs = f", graphs for batch {', '.join(map(str, self.batch_sizes))}" if self.batch_sizes else ""
        given = f", {self._input.what}" if self._input.what else ""
        return f"Engine({what}{given}, {self.path}, {str(self.dtype).removeprefix('torch.')} on {self.device}{graphs})"


def compile(
    model: AudioSpectrogramTransformer,
    reduction: TokenReduction | None = None,
    *,
    batch_size: int | Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    frontend: Frontend | None = None,
) -> Engine:
    """Compile `model` with `reduction` into an `Engine`, a callable from filterbanks (b, f, m) to logits (b, c).

    With a `frontend` it takes waveforms: the filterbank runs on its kernel too, inside the captured graphs. Looking for
    NaN makes the host wait for the device; `fastast.Frontend(..., check=False)` does not look, and what comes of a clip
    with NaN then means nothing.

    The engine keeps a copy of the weights as they are now, and the model stays as it is. Without `reduction` the
    engine does what the model does now: the reduction attached to it, or none. `batch_size`, one or several, are
    captured as CUDA graphs; other batches run eagerly. `dtype` and `device` are the model's where not given.

    Where the kernels cannot run (a CPU, a GPU without Triton, a method they do not know, float64), the engine runs the
    plain-torch forward (and front end) without graphs, says why in `engine.why_plain`, and warns with an
    EngineFallbackWarning, once a process for each reason.

    Raises ValueError for a model in training mode, a batch size below 1 or a front end that does not fit the model,
    ReductionError for a reduction that is impossible or a second one.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("compile: the model is in training mode; call model.eval() first, an engine is for inference")
    sizes = _batch_sizes(batch_size)
    parameter = next(model.parameters())
    dtype, device = dtype or parameter.dtype, _indexed(torch.device(device or parameter.device))
    if frontend is not None:
        check_frontend(frontend, model.geometry)
    if not dtype.is_floating_point:
        raise ValueError(f"compile: dtype is {dtype}; give torch.bfloat16, torch.float16 or torch.float32")
    if reduction is None:
        reduction = model.attached.reduction if model.attached else None
    elif model.attached is not None:
        raise ReductionError(
            f"compile: the model is reduced already ({model.attached.reduction}); remove() that handle first, or "
            "compile without a reduction to keep it"
        )
    if reduction is not None:
        reduction.removals(model.geometry)  # refuses what is impossible before anything is copied
    reason = why_not_reduction(reduction) or why_not_dtype(dtype) or why_not(device)
    if reason:
        _warn_once(reason)
    return Engine(
        model,
        reduction,
        dtype=dtype,
        device=device,
        batch_sizes=sizes,
        stages=None if reason else triton_stages(dtype),
        why_plain=reason,
        frontend=frontend,
    )


def why_not_dtype(dtype: torch.dtype) -> str:
    """Why the kernels do not run in a dtype, as a sentence; empty where they do."""
    if dtype in ENGINE_DTYPES or (dtype == torch.float64 and interpreted()):
        return ""
    return f"the kernels have no {str(dtype).removeprefix('torch.')}"


def _input(
    frontend: Frontend | None, geometry: Geometry, dtype: torch.dtype, device: torch.device, *, plain: bool
) -> Input:
    if frontend is None:
        return Filterbanks(geometry, dtype, device)
    return (PlainWaveforms if plain else KernelWaveforms)(frontend, dtype, device)


def _plain_twin(
    model: AudioSpectrogramTransformer, reduction: TokenReduction | None, kernel: str
) -> AudioSpectrogramTransformer:
    """Return a copy of the model with the reduction attached."""
    with torch.inference_mode(False):
        twin = copy.deepcopy(model)
    twin.attached = None
    if reduction is not None:
        reduce(twin, reduction, attention=kernel)
    return twin.requires_grad_(False)


def _warn_once(reason: str) -> None:
    """Warn that there is a fallback, once a process for each reason: a sweep over reductions compiles hundreds."""
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
    """`cuda` means the current device now, not whichever is current at a call."""
    if device.type == "cuda" and device.index is None and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return device
