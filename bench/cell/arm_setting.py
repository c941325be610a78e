"""Everything that a baseline needs to build its arm: the cell, its models, and how the cell's engine runs them.

Shapes: `b` batch, `s` samples, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from bench.cell.inputs import FromWaveforms, frontend_of
from bench.cell.training_step import TrainingStep, on_kernels
from bench.sweep.cells import Cell
from bench.sweep.engines import find_engine
from fastast.frontend import Frontend
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction

Arm = Callable[..., Tensor]
"""A callable to be timed; its arguments are those that `bench.cell.inputs.inputs_of` returns for its name."""


@dataclass(frozen=True, kw_only=True)
class ArmSetting:
    """A cell, and how its scope and engine turn models into arms."""

    cell: Cell
    model: AudioSpectrogramTransformer
    """The cell's model, without reduction."""
    candidate: AudioSpectrogramTransformer
    """The same model with the cell's reduction."""
    own: AudioSpectrogramTransformer
    """The model at the stride it was trained with, which may differ from the cell's; the reference for speed-ups."""

    @property
    def trains(self) -> bool:
        """Whether training steps are timed; every arm then has its own copy of the weights."""
        return self.cell.measure.scope == "training_step"

    @property
    def on_engine(self) -> bool:
        """Whether the candidate runs on an engine rather than as the model itself."""
        return self.cell.model.engine != "plain"

    @property
    def reduction(self) -> TokenReduction | None:
        """The cell's reduction."""
        return self.cell.reduction

    @property
    def removals(self) -> tuple[int, ...]:
        """Tokens that each block of the candidate removes, after capping."""
        geometry = self.model.geometry
        return (0,) * geometry.depth if self.reduction is None else self.reduction.removals(geometry)

    def unmerged(self) -> Arm:
        """Return the unmerged model at its own stride on the cell's engine."""
        return self._on_engine(self.own, None)

    def engine(self, reduction: TokenReduction | None, *, front_end: bool = True) -> Arm:
        """Return the model on the cell's engine; without `front_end`, it takes filterbanks in any scope."""
        return self._on_engine(self.model, reduction, front_end=front_end)

    def _on_engine(
        self, model: AudioSpectrogramTransformer, reduction: TokenReduction | None, *, front_end: bool = True
    ) -> Arm:
        # A search tries many sizes, so nothing is captured or fixed for one of them.
        size = None if self.cell.batch_size == "best" else self.cell.batch_size
        return find_engine(self.cell.model.engine).arm(
            self.cell,
            model,
            reduction,
            batch_size=size,
            frontend=self._frontend if front_end else None,
        )

    def plain(self, forward: Callable[[Tensor], Tensor]) -> Arm:
        """Turn a forward that takes filterbanks into an arm of the cell's scope."""
        dtype = self.model.cls_token.dtype
        return forward if self._frontend is None else FromWaveforms(self._frontend, forward, dtype)

    def training(self, model: nn.Module) -> Arm:
        """Return a training step of a copy of a model, in plain PyTorch."""
        return self._step(copy.deepcopy(model))

    def training_of(self, reduction: TokenReduction | None) -> Arm:
        """Return a training step of a copy of the cell's model, on the cell's engine if that can run."""
        own = copy.deepcopy(self.model).requires_grad_(True).train()
        forward = on_kernels(own, reduction) if self.on_engine else None
        if forward is None:
            own.attention_kernel = self.cell.attention
            if reduction is not None:
                reduce(own, reduction, attention=self.cell.attention)
        return self._step(own, forward)

    def _step(self, own: nn.Module, forward: Callable[[Tensor], Tensor] | None = None) -> TrainingStep:
        return TrainingStep(own, forward, dtype=self.cell.dtype, device=self.cell.device)

    @property
    def _frontend(self) -> Frontend | None:
        return frontend_of(self.model) if self.cell.measure.scope in ("waveform", "stream") else None
