"""The engine `triton`: `fastast.compile`, and its differentiable kernels for training steps.

Shapes: `b` batch, `s` samples, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from bench.cell.baselines.engine import EngineArm
from bench.cell.engines.ran import Ran, tokens_planned, tokens_that_left
from bench.cell.inputs import frontend_of
from bench.cell.training_step import kernels_of, tokens_on_kernels
from bench.records import schema
from bench.sweep.axes import FLOATING
from bench.sweep.baselines import SCOPES
from bench.sweep.cells import Cell
from fastast.attention import resolve_kernel
from fastast.engine.compilation import ENGINE_ATTENTION
from fastast.engine.differentiable import differentiable_forward, why_not_differentiable
from fastast.frontend import Frontend
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction


class TritonEngine:
    """FastAST's own kernels; where they cannot run, plain PyTorch, as the record then says."""

    dtypes = FLOATING
    scopes = tuple(scope for scope in SCOPES if scope != "stream")
    on_gpus = True

    def attentions(self, scope: str) -> tuple[str, ...]:
        """Return its own attention and, except in training steps, FlashAttention-4."""
        return ("auto",) if scope == "training_step" else ENGINE_ATTENTION

    def require(self) -> None:
        """Do nothing: where its kernels cannot run, the engine falls back."""

    def arm(
        self,
        cell: Cell,
        model: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
        *,
        batch_size: int | None,
        frontend: Frontend | None = None,
    ) -> Callable[[Tensor], Tensor]:
        """Return the compiled model; `batch_size` is captured as a graph on devices that have graphs."""
        return EngineArm(model, reduction, batch_size, frontend, attention=cell.attention)

    def ran(
        self,
        cell: Cell,
        model: AudioSpectrogramTransformer,
        candidate: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
    ) -> Ran:
        """Return the engine, or for training steps the differentiable kernels."""
        if cell.kind == "performance" and cell.measure.scope == "training_step":
            return _trains(cell, model, candidate, reduction)
        engine = EngineArm(model, reduction, None, attention=cell.attention).engine
        names = dict(engine.kernels)
        if cell.kind == "performance" and cell.measure.scope == "waveform":
            waveforms = EngineArm(model, reduction, None, frontend_of(model), attention=cell.attention)
            names = waveforms.engine.kernels
        part = schema.EngineFacts(path=engine.path, why_plain=engine.why_plain, kernels=names)
        return Ran(forward=engine, tokens=engine.measure_tokens, engine=part)


def _trains(
    cell: Cell,
    model: AudioSpectrogramTransformer,
    candidate: AudioSpectrogramTransformer,
    reduction: TokenReduction | None,
) -> Ran:
    reason = why_not_differentiable(model, reduction)
    if reason:
        kernels: dict[str, str] = {"attention": resolve_kernel(cell.attention, torch.device(cell.device))}
        part = schema.EngineFacts(path="plain", why_plain=reason, kernels=kernels)
        return Ran(forward=candidate, tokens=partial(tokens_that_left, candidate), engine=part)
    part = schema.EngineFacts(path="triton", why_plain="", kernels=kernels_of(model))
    planned = tokens_planned(model.geometry, reduction)

    def tokens(fbank: Tensor) -> tuple[int, ...]:
        seen = tokens_on_kernels(model, reduction, fbank)
        return seen + planned[len(seen) :]  # the last block computes the head's tokens only, as in an Engine

    return Ran(forward=differentiable_forward(model, reduction), tokens=tokens, engine=part)


ENGINE = TritonEngine()
