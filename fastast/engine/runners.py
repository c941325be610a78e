"""The two ways in which an engine runs a model: over its stages, or as the model's own forward in plain torch.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from fastast.attention import resolve_kernel
from fastast.engine.forward import forward
from fastast.engine.route import Route, plan_route
from fastast.engine.stages import Stages
from fastast.engine.weights import PackedModel, pack
from fastast.reduction import MergeTrace, TokenReduction, reduce

if TYPE_CHECKING:
    from fastast.model import AudioSpectrogramTransformer


class Runner(Protocol):
    """A model with its reduction, in one dtype on one device."""

    @property
    def names(self) -> dict[str, str]:
        """What each stage runs on."""
        ...

    def __call__(self, fbank: Tensor) -> Tensor:
        """Return the logits (b, c) of a normalised filterbank (b, f, m)."""
        ...

    def measure_tokens(self, fbank: Tensor) -> list[int]:
        """Run and return the tokens that left each block, of as many blocks as compute all of theirs."""
        ...


@dataclass(frozen=True)
class StageRunner:
    """Packed weights over stages: fused kernels, or their references."""

    weights: PackedModel
    route: Route
    stages: Stages

    @classmethod
    def of(
        cls,
        model: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
        stages: Stages,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> StageRunner:
        """Pack a model's weights and plan its reduction."""
        return cls(pack(model, dtype=dtype, device=device), plan_route(model.geometry, reduction), stages)

    @property
    def names(self) -> dict[str, str]:
        """What each stage runs on."""
        return self.stages.names

    def __call__(self, fbank: Tensor) -> Tensor:
        """Return the logits (b, c) of a normalised filterbank (b, f, m)."""
        return forward(self.weights, self.route, self.stages, fbank)

    def measure_tokens(self, fbank: Tensor) -> list[int]:
        """Run and return the tokens that left each block; not of a last block that computes the head's only."""
        tokens: list[int] = []
        forward(self.weights, self.route, self.stages, fbank, tokens)
        return tokens


@dataclass(frozen=True)
class PlainRunner:
    """A copy of the model with the reduction attached."""

    model: AudioSpectrogramTransformer
    names: dict[str, str]

    @classmethod
    def of(
        cls,
        model: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> PlainRunner:
        """Copy a model, with its attention kernel, and attach `reduction` in place of its own."""
        kernel = model.attention_kernel
        with torch.inference_mode(False):
            twin = copy.deepcopy(model)
        twin.attached = None
        if reduction is not None:
            reduce(twin, reduction, attention=kernel)
        twin = twin.requires_grad_(False).to(device, dtype)
        return cls(twin, {"attention": resolve_kernel(kernel, device)})

    def __call__(self, fbank: Tensor) -> Tensor:
        """Return the logits (b, c) of a normalised filterbank (b, f, m)."""
        logits: Tensor = self.model(fbank)
        return logits

    def measure_tokens(self, fbank: Tensor) -> list[int]:
        """Run and return the tokens that left each block."""
        trace = MergeTrace()
        self.model.forward_features(fbank, trace)
        return list(trace.tokens_per_block)
