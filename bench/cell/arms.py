"""The arms of a performance cell: candidate and baselines over the same weights, in the cell's scope.

Shapes: `b` batch, `s` samples, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.cell import baselines
from bench.cell.inputs import frontend_of
from bench.cell.training_step import TrainingStep, on_kernels
from bench.sweep.cells import Cell
from fastast.frontend import Frontend
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import PerBlock

Arm = Callable[..., Tensor]
"""What is timed; it is called with `bench.cell.inputs.inputs_of` its name."""


def build_arms(
    cell: Cell, model: AudioSpectrogramTransformer, candidate: AudioSpectrogramTransformer
) -> dict[str, Arm]:
    """Return candidate and baselines, all over the same weights.

    `unmerged` and `slice` run on the candidate's own engine, the others on their own. Of the unmerged model, the arm
    `unmerged` is the same model again: its ratio shows the noise of the machine. Of a training step every arm has a
    copy of the weights, and `unmerged` is the plain model on fused attention whatever the engine.
    """
    if cell.measure.scope == "training_step":
        return _training_arms(cell, model)
    frontend = frontend_of(model) if cell.measure.scope == "waveform" else None
    dtype = model.cls_token.dtype
    reduction = cell.reduction
    on_engine = cell.model.engine != "plain"
    # A search tries sizes that nobody knows before: no graphs then.
    captured = None if cell.batch_size == "best" else cell.batch_size

    def engine(what: TokenReduction | None, frontend: Frontend | None = frontend) -> Arm:
        return baselines.EngineArm(model, what, captured, frontend)

    def plain(forward: Callable[[Tensor], Tensor]) -> Arm:
        return forward if frontend is None else FromWaveforms(frontend, forward, dtype)

    arms: dict[str, Arm] = {"candidate": engine(reduction) if on_engine else plain(candidate)}
    for name in cell.question["measure"]["baselines"]:
        if name == "unmerged":
            arms[name] = engine(None) if on_engine else plain(baselines.unmerged(model))
        elif name == "slice" and reduction is not None:
            counts = _as_many(reduction, model)
            arms[name] = engine(baselines.slicing(counts)) if on_engine else plain(baselines.sliced(model, counts))
        elif name == "tome_plain":
            removals = reduction.removals(model.geometry) if reduction else (0,) * model.geometry.depth
            proportional = reduction.proportional if reduction else True
            arms[name] = plain(baselines.PlainToMe(model, removals, proportional=proportional))
        elif name == "timm":
            arms[name] = plain(baselines.TimmAST(model))
        elif name == "timm_compiled":
            arms[name] = plain(baselines.compiled(baselines.TimmAST(model)))
        elif name == "hf":
            arms[name] = plain(baselines.hugging_face_ast(model))
        elif name == "model_alone":
            arms[name] = engine(reduction, None) if on_engine else candidate
    return arms


class FromWaveforms:
    """A forward behind the front end in plain torch."""

    def __init__(self, frontend: Frontend, forward: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
        self._frontend, self._forward, self._dtype = frontend, forward, dtype

    def __call__(self, waveforms: Tensor) -> Tensor:
        """(b, s) -> logits (b, c)."""
        return self._forward(self._frontend(waveforms).to(self._dtype))


def trainable(cell: Cell, model: AudioSpectrogramTransformer, reduction: TokenReduction | None) -> TrainingStep:
    """Return a training step of a copy of `model`, on the engine where the cell asks for it and its kernels can run."""
    own = copy.deepcopy(model).requires_grad_(True).train()
    forward = on_kernels(own, reduction) if cell.model.engine != "plain" else None
    if forward is None:
        own.attention_kernel = cell.attention
        if reduction is not None:
            reduce(own, reduction, attention=cell.attention)
    return _step(cell, own, forward)


def _training_arms(cell: Cell, model: AudioSpectrogramTransformer) -> dict[str, Arm]:
    reduction = cell.reduction
    arms: dict[str, Arm] = {"candidate": trainable(cell, model, reduction)}
    for name in cell.question["measure"]["baselines"]:
        if name == "unmerged":
            arms[name] = _step(cell, copy.deepcopy(baselines.unmerged(model)))
        elif name == "slice" and reduction is not None:
            arms[name] = trainable(cell, model, baselines.slicing(_as_many(reduction, model)))
        elif name == "timm":
            arms[name] = _step(cell, copy.deepcopy(baselines.TimmAST(model)))
    return arms


def _step(cell: Cell, own: nn.Module, forward: Callable[[Tensor], Tensor] | None = None) -> TrainingStep:
    return TrainingStep(own, forward, dtype=cell.dtype, device=cell.device)


def _as_many(reduction: TokenReduction, model: AudioSpectrogramTransformer) -> PerBlock:
    """As many tokens as the candidate really removes, where its schedule is capped."""
    return PerBlock(reduction.removals(model.geometry))
