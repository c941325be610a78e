"""The forward of a model over the kernels that have a backward pass, for training.

Shapes: `b` batch, `f` frames, `m` mel bins, `n` tokens, `p` tokens that leave a block, `k` tokens that the head reads,
`h` heads, `d` width, `c` classes.

Attention, merging, and residual sums with their norms run on the kernels, there and back; the matrix products (that of
the patches too) and GELU are torch's. Types follow autocast as they do in the model: the residual stream keeps the type
of the parameters, and a norm is written once, in the type in which the matrix product behind it reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastast.engine.borrowed import borrow
from fastast.engine.forward import choose_merges, linear, norm
from fastast.engine.last_block import attend
from fastast.engine.route import MERGES, Route, plan_route, why_not_reduction
from fastast.engine.stages import Stages, triton_stages
from fastast.engine.training_stages import drop_norm, embed
from fastast.engine.weights import PackedBlock, PackedModel, PackedNorm
from fastast.kernels import interpreted, why_not
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import ReductionError

if TYPE_CHECKING:
    from fastast.reduction import TokenReduction

TRAINING_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
"""Dtypes of parameters; float64 runs in Triton's interpreter alone, for tests."""


class DifferentiableForward(nn.Module):
    """A model's forward on the kernels, with the model itself inside: its parameters are this module's.

    Made by `differentiable_forward`. As a module it can be wrapped for several processes like the model.
    """

    def __init__(self, model: AudioSpectrogramTransformer, reduction: TokenReduction | None, stages: Stages) -> None:
        """Run over `stages`; `differentiable_forward` is the way to."""
        super().__init__()
        self.model = model
        self.reduction = reduction
        self._stages = stages

    def forward(self, fbank: Tensor) -> Tensor:
        """Normalised filterbank (b, f, m) -> logits (b, c).

        Without a reduction of its own it follows the model's: what is attached to it at the call, or none. Raises
        ValueError for another shape, or an attached reduction that the kernels cannot do.
        """
        model: AudioSpectrogramTransformer = self.model
        route = plan_route(model.geometry, self._current())
        weights, stages = borrow(model), self._stages
        half = _autocast_dtype(fbank.device)
        x, size = embed(model, weights, fbank), None  # (b, n, d)
        normed = norm(x, weights.blocks[0].norm1)  # (b, n, d)
        after = [*(block.norm1 for block in weights.blocks[1:]), weights.norm]
        last = len(weights.blocks) - 1
        for i, (block, r, next_norm) in enumerate(zip(weights.blocks, route.removals, after, strict=True)):
            drop_path: Any = model.blocks[i].drop_path
            weighted = size if route.proportional else None
            if i == last and route.short_last_block:
                out = _attend_to_all(normed, weighted, weights, block, route.num_prefix)  # (b, k, d)
                out = drop_path(linear(out, block.proj))
                x, normed = _add_norm(x[:, : route.num_prefix], out, block.norm2, half, stages)  # (b, k, d) each
            else:
                qkv = linear(normed, block.qkv)  # (b, n, 3d)
                out = stages.weighted_attention(qkv, weighted, model.geometry.num_heads)  # (b, n, d)
                out = drop_path(linear(out, block.proj))
                x, normed, size = _reduce(x, out, qkv, size, r, route, model.geometry.num_heads, block, half, stages)
            out = drop_path(linear(F.gelu(linear(normed, block.fc1)), block.fc2))
            # Whoever reads this norm other than by a matrix product gets it unrounded, as from the model.
            unrounded = i == last or (i + 1 == last and route.short_last_block)
            x, normed = _add_norm(x, out, next_norm, None if unrounded else half, stages)
        pooled = normed[:, : route.num_prefix].mean(1)  # (b, d)
        return linear(norm(pooled, weights.head_norm), weights.head)  # (b, c)

    def _current(self) -> TokenReduction | None:
        attached = self.model.attached
        if self.reduction is not None:
            if attached is not None:
                raise _reduced_already(attached.reduction)
            return self.reduction
        if attached is None:
            return None
        reason = why_not_reduction(attached.reduction)
        if reason:
            raise _refusal(reason)
        return attached.reduction


def differentiable_forward(
    model: AudioSpectrogramTransformer, reduction: TokenReduction | None = None
) -> DifferentiableForward:
    """Return the forward of `model` on the kernels, (b, f, m) -> (b, c), whose gradients reach `model.parameters()`.

    Nothing is copied: every call runs on the weights, the mode (stochastic depth) and, without `reduction`, the
    attached reduction that the model has then. Call it as the model: in float32, or under autocast. The choice of what
    merges carries no gradient, as in the model. In the last block only the tokens that the head reads are computed.
    Logits and gradients are the model's up to rounding.

    Raises ValueError where the kernels cannot run (`why_not_differentiable`): there is no fallback, the model itself is
    one. ReductionError for a reduction that is impossible or a second one.
    """
    reason = why_not_differentiable(model, reduction)
    if reason:
        raise _refusal(reason)
    if reduction is not None:
        if model.attached is not None:
            raise _reduced_already(model.attached.reduction)
        reduction.removals(model.geometry)  # refuses what is impossible now rather than at a step
    return DifferentiableForward(model, reduction, triton_stages(next(model.parameters()).dtype))


def why_not_differentiable(model: nn.Module, reduction: TokenReduction | None = None) -> str:
    """Why a model cannot be trained on the kernels where it is now, as a sentence; empty where it can."""
    if not isinstance(model, AudioSpectrogramTransformer):
        return f"the kernels are of an audio spectrogram transformer, not of a {type(model).__name__}"
    if reduction is None and model.attached is not None:
        reduction = model.attached.reduction
    parameter = next(model.parameters())
    dtype = parameter.dtype
    if dtype not in TRAINING_DTYPES and not (dtype == torch.float64 and interpreted()):
        return f"the kernels have no {str(dtype).removeprefix('torch.')}"
    return why_not_reduction(reduction) or why_not(parameter.device)


def _refusal(reason: str) -> ValueError:
    return ValueError(f"differentiable_forward: {reason}; call the model itself there, it trains in plain torch")


def _reduced_already(attached: TokenReduction) -> ReductionError:
    return ReductionError(
        f"differentiable_forward: the model is reduced already ({attached}); remove() that handle first, or give no "
        "reduction to follow what is attached"
    )


def _autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the type in which matrix products run here, where autocast rules it."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def _reduce(
    x: Tensor,
    out: Tensor,
    qkv: Tensor,
    size: Tensor | None,
    r: int,
    route: Route,
    num_heads: int,
    block: PackedBlock,
    dtype: torch.dtype | None,
    stages: Stages,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Residual sum, reduction and norm: (b, n, d) -> (b, p, d) twice and sizes (b, p) or None."""
    if r > 0 and route.method == MERGES:
        with torch.no_grad():  # the choice of tokens is discrete; gradients flow through the averages
            plan = choose_merges(qkv, r, route, num_heads, stages)
        layer = block.norm2
        merged, normed, new_size = stages.merge_norm(
            x, out, size, plan, layer.weight, layer.bias, layer.eps, dtype
        )  # fmt: skip
        return merged, normed, new_size
    if r > 0:  # the oracle: the last tokens go, unread
        total, normed = drop_norm(x, out, x.shape[1] - r, block.norm2, dtype, stages)
        return total, normed, None
    total, normed = _add_norm(x, out, block.norm2, dtype, stages)
    return total, normed, size


def _add_norm(
    x: Tensor, y: Tensor, layer: PackedNorm, dtype: torch.dtype | None, stages: Stages
) -> tuple[Tensor, Tensor]:
    total, normed = stages.add_norm(x, y, layer.weight, layer.bias, layer.eps, dtype)
    return total, normed


def _attend_to_all(normed: Tensor, size: Tensor | None, weights: PackedModel, block: PackedBlock, k: int) -> Tensor:
    """Attention of the first `k` tokens over all, (b, n, d) -> (b, k, d), in the type of the parameters."""
    with torch.autocast(normed.device.type, enabled=False):
        return attend(normed.to(block.qkv.weight.dtype), size, weights, block, k)
