"""A training step as an arm: forward, binary cross-entropy, backward, AdamW.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastast.engine import EngineFallbackWarning
from fastast.engine.differentiable import DifferentiableForward, differentiable_forward, why_not_differentiable
from fastast.engine.kernel_table import triton_kernels
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace, TokenReduction
from fastast.training.optimisation import fuses

LEARNING_RATE, WEIGHT_DECAY = 1e-5, 5e-7
"""The learning rate is AST's on AudioSet: after thousands of steps on one batch, numbers must stay realistic."""


class TrainingStep:
    """A model, with its own weights, that trains on one batch at each call.

    Weights, gradients and optimiser are in float32; half precision is autocast, with a scaled loss for float16.
    """

    def __init__(
        self, model: nn.Module, forward: Callable[[Tensor], Tensor] | None = None, *, dtype: str, device: str
    ) -> None:
        """`forward` uses the weights of `model`; the default is the model's own.

        `model` is trained in place: pass a copy.
        """
        self._forward = forward or model.train().requires_grad_(True)
        self._device, self._dtype = device, getattr(torch, dtype)
        self._optimiser = torch.optim.AdamW(
            model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=fuses(model)
        )
        self._scaler = torch.amp.GradScaler(device, enabled=dtype == "float16")

    def __call__(self, fbank: Tensor, labels: Tensor) -> Tensor:
        """Train on filterbanks (b, f, m) and labels (b, c); return the loss."""
        with autocast_to(self._device, self._dtype):
            logits = self._forward(fbank)  # (b, c)
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad(set_to_none=True)
        return loss.detach()


def autocast_to(device: str, dtype: torch.dtype) -> torch.autocast:
    """Return an autocast context for half precision; it is disabled for float32."""
    half = dtype != torch.float32
    return torch.autocast(device, dtype if half else None, enabled=half)


def on_kernels(model: AudioSpectrogramTransformer, reduction: TokenReduction | None) -> DifferentiableForward | None:
    """Return the engine's differentiable forward, (b, f, m) -> (b, c), on the weights of `model`.

    None, with an EngineFallbackWarning, if its kernels cannot run; the model then trains in plain torch.
    """
    reason = why_not_differentiable(model, reduction)
    if reason:
        warnings.warn(f"training step: {reason}. The model trains in plain torch", EngineFallbackWarning, stacklevel=2)
        return None
    return differentiable_forward(model, reduction)


def kernels_of(model: AudioSpectrogramTransformer) -> dict[str, str]:
    """Return what each stage of a training step runs on; only kernels with a backward pass are used."""
    names = triton_kernels(next(model.parameters()).dtype).names
    return names | dict.fromkeys(("patch_tokens", "linear_gelu"), "torch")


def tokens_on_kernels(
    model: AudioSpectrogramTransformer, reduction: TokenReduction | None, fbank: Tensor
) -> tuple[int, ...]:
    """Run a forward of (b, f, m) and return the tokens leaving each block, except a last block computed in part."""
    trace = MergeTrace()
    DifferentiableForward(model, reduction, triton_kernels(next(model.parameters()).dtype))(fbank, trace)
    return tuple(trace.tokens_per_block)
