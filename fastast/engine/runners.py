"""The two ways in which an engine runs a model: on the kernels, or by the model's own forward in plain torch.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fastast.attention import resolve_kernel
from fastast.engine.forward import PackedForward
from fastast.engine.kernel_table import KernelTable
from fastast.engine.weights import pack
from fastast.hosts import adapter_of, reduce, restore
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import AttachedReduction, MergeTrace, TokenReduction
from fastast.reduction.forward.scope import Scope


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
        """Run and return the number of tokens that left each block, for the blocks that compute all of theirs."""
        ...


@dataclass(frozen=True)
class KernelRunner:
    """Packed weights, run on fused kernels or their references."""

    forward: PackedForward

    @classmethod
    def of(
        cls,
        model: nn.Module,
        reduction: TokenReduction | None,
        kernels: KernelTable,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> KernelRunner:
        """Pack a model's weights and resolve its reduction."""
        attached = None if reduction is None else AttachedReduction.of(reduction, adapter_of(model).encoder)
        return cls(PackedForward(pack(model, dtype=dtype, device=device), attached, kernels))

    @property
    def names(self) -> dict[str, str]:
        """What each kernel runs on."""
        return self.forward.kernels.names

    def __call__(self, fbank: Tensor) -> Tensor:
        """Return the logits (b, c) of a normalised filterbank (b, f, m)."""
        return self.forward(fbank)

    def watched(self, scope: Scope) -> KernelRunner:
        """Return the same runner with every part of its forward run inside `scope`."""
        return KernelRunner(self.forward.watched(scope))

    def measure_tokens(self, fbank: Tensor) -> list[int]:
        """Run and return the number of tokens that left each block, except a last one that computes only the head's."""
        trace = MergeTrace()
        self.forward(fbank, trace)
        return list(trace.tokens_per_block)


@dataclass(frozen=True)
class PlainRunner:
    """A copy of the model with the reduction attached."""

    model: nn.Module
    names: dict[str, str]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        reduction: TokenReduction | None,
        *,
        dtype: torch.dtype,
        device: torch.device,
        attention: str = "auto",
    ) -> PlainRunner:
        """Copy a model, with its own attention kernel or `attention`, and attach `reduction` in place of its own."""
        kernel = adapter_of(model).kernel if attention == "auto" else attention
        with torch.inference_mode(False):
            twin = copy.deepcopy(model)
            restore(twin)
            twin = twin.requires_grad_(False).to(device, dtype)
            if isinstance(twin, AudioSpectrogramTransformer):
                twin.attention_kernel = kernel
            if reduction is not None:
                reduce(twin, reduction, attention=kernel)
        return cls(twin, {"attention": resolve_kernel(kernel, device)})

    def __call__(self, fbank: Tensor) -> Tensor:
        """Return the logits (b, c) of a normalised filterbank (b, f, m)."""
        return adapter_of(self.model).logits(fbank)

    def measure_tokens(self, fbank: Tensor) -> list[int]:
        """Run and return the number of tokens that left each block."""
        trace = MergeTrace()
        if isinstance(self.model, AudioSpectrogramTransformer):
            self.model.forward_features(fbank, trace)
        else:
            host = adapter_of(self.model)
            host.encode(host.tokens_of(fbank), trace=trace)
        return list(trace.tokens_per_block)
