"""What `compile` returns: a model and a reduction as a callable that runs as fast as the device allows.

Shapes: `b` batch, `s` samples, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from fastast.encoder import EncoderShape
from fastast.engine.graphs import CapturedForward
from fastast.engine.inputs import Filterbanks, Input
from fastast.engine.kernel_table import KernelTable
from fastast.engine.runners import KernelRunner, PlainRunner, Runner
from fastast.engine.waveforms import Clips, KernelWaveforms, PlainWaveforms
from fastast.hosts import adapter_of
from fastast.reduction import TokenReduction

if TYPE_CHECKING:
    from fastast.frontend import Frontend


class Engine:
    """A compiled model: filterbank (b, f, m), or with a front end waveforms (b, s), -> logits (b, c), for inference.

    Created by `fastast.compile`. Do not use it from several threads or CUDA streams at once: its graphs share buffers.
    """

    path: Literal["triton", "plain"]
    """What runs: the fused kernels, or the model's own forward in plain torch."""
    why_plain: str
    """Reason why the kernels do not run, as a sentence; empty where they do."""
    kernels: dict[str, str]
    """What each stage actually runs on; on the plain path, the attention kernel, as `fastast.attention` names it, and
    the `filterbank` where there is a front end."""
    encoder: EncoderShape
    """Shape of the model's encoder."""
    reduction: TokenReduction | None
    """The reduction that was compiled in."""
    tokens_per_block: tuple[int, ...]
    """Number of tokens that leave each block; with a threshold, the minimum."""
    frontend: Frontend | None
    """Front end whose filterbanks the engine computes from waveforms; None where the engine takes filterbanks."""
    dtype: torch.dtype
    device: torch.device
    runner: Runner
    """The model with its reduction, for profilers."""
    batch_sizes: tuple[int, ...]
    """Batch sizes that run as captured CUDA graphs; any other runs eagerly."""

    def __init__(
        self,
        model: nn.Module,
        reduction: TokenReduction | None,
        *,
        dtype: torch.dtype,
        device: torch.device,
        batch_sizes: Sequence[int],
        kernels: KernelTable | None,
        why_plain: str,
        frontend: Frontend | None = None,
        attention: str = "auto",
    ) -> None:
        """Build an engine on `kernels`, or on the plain model where these are None; use `compile` to create one.

        `attention` is the plain model's kernel, a name of `fastast.attention`; "auto" keeps the model's own.
        """
        host = adapter_of(model)
        self.encoder = host.encoder
        self.reduction, self.frontend = reduction, frontend
        self.tokens_per_block = (
            (self.encoder.num_tokens,) * self.encoder.depth
            if reduction is None
            else reduction.tokens_per_block(self.encoder)
        )
        self.dtype, self.device, self.why_plain = dtype, device, why_plain
        with torch.inference_mode(False):
            self._input = _input(frontend, host.fbank_shape, dtype, device, plain=kernels is None)
            if kernels is None:
                self.runner = PlainRunner.of(model, reduction, dtype=dtype, device=device, attention=attention)
            else:
                self.runner = KernelRunner.of(model, reduction, kernels, dtype=dtype, device=device)
        self.path = "plain" if kernels is None else "triton"
        self.kernels = self._input.names | self.runner.names
        self._captured = None
        if kernels is not None and device.type == "cuda" and batch_sizes:
            with torch.inference_mode(False), torch.no_grad():
                buffers = self._input.buffers(max(batch_sizes))
                self._captured = CapturedForward(self._logits, batch_sizes, buffers, device=device)
        self.batch_sizes = self._captured.batch_sizes if self._captured else ()

    def __call__(self, clips: Clips) -> Tensor:
        """Return the logits (b, c) of a normalised filterbank (b, f, m), in the engine's dtype on its device.

        An engine with a front end takes waveforms, as `fastast.Frontend` does: (b, s) at 16 kHz, or a list of clips of
        any lengths. Input on another device or in another dtype is moved and rounded to the engine's. Raises ValueError
        for another shape, and for waveforms where the front end does.
        """
        # Not inference mode: a call outside of it could not write into its tensors.
        with torch.inference_mode(False), torch.no_grad():
            read = self._input.read(clips)
            if self._captured is not None and len(read[0]) in self.batch_sizes:
                return self._captured(*read)
            return self._logits(*read)

    def eagerly(self, clips: Clips) -> Tensor:
        """Return the same logits without a graph, for any batch size; shapes and errors as for a call."""
        with torch.inference_mode(False), torch.no_grad():
            return self._logits(*self._input.read(clips))

    def measure_tokens(self, clips: Clips) -> tuple[int, ...]:
        """Run eagerly and return the number of tokens that left each block.

        Where the kernels compute only the head's tokens in the last block, its number is the planned one.
        """
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            tokens = tuple(self.runner.measure_tokens(self._input.fbank(*self._input.read(clips))))
            return tokens + self.tokens_per_block[len(tokens) :]

    def _logits(self, *read: Tensor) -> Tensor:
        # Under a caller's autocast, products would have another dtype than the kernels' other operands.
        with torch.autocast(self.device.type, enabled=False):
            return self.runner(self._input.fbank(*read))

    def __repr__(self) -> str:
        what = "unmerged" if self.reduction is None else str(self.reduction)
        graphs = f", graphs for batch {', '.join(map(str, self.batch_sizes))}" if self.batch_sizes else ""
        given = f", {self._input.what}" if self._input.what else ""
        return f"Engine({what}{given}, {self.path}, {str(self.dtype).removeprefix('torch.')} on {self.device}{graphs})"


def _input(
    frontend: Frontend | None, shape: tuple[int, int], dtype: torch.dtype, device: torch.device, *, plain: bool
) -> Input:
    if frontend is None:
        return Filterbanks(shape, dtype, device)
    return (PlainWaveforms if plain else KernelWaveforms)(frontend, dtype, device)
