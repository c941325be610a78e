"""The forward of a model on kernels that have a backward pass, for training.

Shapes: `b` batch, `f` frames, `m` mel bins, `n` tokens, `d` width, `c` classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fastast.engine.choosing import why_not_reduction
from fastast.engine.kernel_table import KernelTable, triton_kernels
from fastast.engine.packed_stages import read_out
from fastast.engine.training_stages import TrainingStages, embed
from fastast.engine.weights import borrow
from fastast.hosts.native import why_changed
from fastast.kernels import interpreted, why_not
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import AttachedReduction, MergeTrace, ReductionError
from fastast.reduction.forward.encode import encode
from fastast.reduction.spec import check_reduction

if TYPE_CHECKING:
    from fastast.reduction import TokenReduction

TRAINING_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
"""Dtypes that parameters may have; float64 runs only in Triton's interpreter, for tests."""


class DifferentiableForward(nn.Module):
    """A model's forward on the kernels; the model is a submodule, so its parameters are this module's.

    Created by `differentiable_forward`. Being a module, it can be wrapped for several processes like the model.
    """

    def __init__(
        self, model: AudioSpectrogramTransformer, reduction: TokenReduction | None, kernels: KernelTable
    ) -> None:
        """Run `model` on `kernels`; use `differentiable_forward` to create one."""
        super().__init__()
        self.model = model
        self.reduction = reduction
        self._kernels = kernels
        self._own = None if reduction is None else AttachedReduction.of(reduction, model.encoder)

    def forward(self, fbank: Tensor, trace: MergeTrace | None = None) -> Tensor:
        """Normalised filterbank (b, f, m) -> logits (b, c).

        Without a reduction of its own, it uses the one attached to the model at the time of the call, or none. `trace`
        records every merge, and the tokens that left each block that computes all of its tokens. Raises ValueError for
        another shape, or an attached reduction that the kernels cannot run, and ReductionError where both it and the
        model have a reduction.
        """
        model: AudioSpectrogramTransformer = self.model
        attached, weights = self._current(), borrow(model)
        half = torch.get_autocast_dtype(fbank.device.type) if torch.is_autocast_enabled(fbank.device.type) else None
        spares = attached is None or attached.spares_the_head(model.encoder)
        stages = TrainingStages(model, weights, self._kernels, half, spares_the_head=spares)
        _, normed, size = encode(stages, embed(model, weights, fbank), attached, trace=trace)
        return read_out(weights, normed, size)  # (b, c)

    def _current(self) -> AttachedReduction | None:
        attached = self.model.attached
        if self.reduction is not None:
            if attached is not None:
                raise _reduced_already(attached.reduction)
            return self._own
        if attached is not None and (reason := _why_not_training(attached.reduction)):
            raise _refusal(reason)
        return attached


def differentiable_forward(
    model: AudioSpectrogramTransformer, reduction: TokenReduction | None = None
) -> DifferentiableForward:
    """Return the forward of `model` on the kernels, (b, f, m) -> (b, c), whose gradients reach `model.parameters()`.

    Nothing is copied: every call uses the model's current weights, mode (stochastic depth) and, without `reduction`,
    attached reduction; later changes inside the model, such as a layer's class or a hook, are not seen. Call it like
    the model: in float32, or under autocast. As in the model, the choice of what merges carries no gradient. Where the
    reduction allows it, the last block computes only the tokens that the head reads. Logits and gradients equal the
    model's up to rounding.

    Raises ValueError where the kernels cannot run (`why_not_differentiable`), without a fallback, which is the model
    itself, and ReductionError for an impossible reduction or a second one.
    """
    if reduction is not None:
        check_reduction(reduction, "differentiable_forward")
    reason = why_not_differentiable(model, reduction)
    if reason:
        raise _refusal(reason)
    if reduction is not None and model.attached is not None:
        raise _reduced_already(model.attached.reduction)
    return DifferentiableForward(model, reduction, triton_kernels(next(model.parameters()).dtype))


def why_not_differentiable(model: nn.Module, reduction: TokenReduction | None = None) -> str:
    """Return the reason why a model cannot be trained on the kernels on its device; an empty string where it can."""
    if not isinstance(model, AudioSpectrogramTransformer):
        return f"the kernels are for FastAST's AudioSpectrogramTransformer, not for {type(model).__name__}"
    if reduction is None and model.attached is not None:
        reduction = model.attached.reduction
    parameter = next(model.parameters())
    dtype = parameter.dtype
    if dtype not in TRAINING_DTYPES and not (dtype == torch.float64 and interpreted()):
        return f"the kernels do not support {str(dtype).removeprefix('torch.')}"
    return _why_not_training(reduction) or why_changed(model) or _why_dropout(model) or why_not(parameter.device)


def _why_dropout(model: nn.Module) -> str:
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            return f"{name} drops {module.p:g} of its values in training; the kernels support stochastic depth only"
    return ""


def _why_not_training(reduction: TokenReduction | None) -> str:
    if reduction is not None and reduction.combining == "norm":
        return "the kernel of combine='norm' has no backward pass"
    return why_not_reduction(reduction)


def _refusal(reason: str) -> ValueError:
    return ValueError(f"differentiable_forward: {reason}; call the model itself, which trains in plain torch")


def _reduced_already(attached: TokenReduction) -> ReductionError:
    return ReductionError(
        f"differentiable_forward: the model is reduced already ({attached}); remove() that handle first, or give no "
        "reduction to use the attached one"
    )
