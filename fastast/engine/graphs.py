"""A forward captured as CUDA graphs, one for every batch size: a launch costs the same whatever runs inside.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARMUP_FORWARDS = 3
"""Forwards before a capture: they compile kernels and let libraries allocate, which a capture does not allow."""


class CapturedForward:
    """One CUDA graph for each batch size, over one static input buffer and one pool of memory."""

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        batch_sizes: Sequence[int],
        clip_shape: tuple[int, int],
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Capture `forward` for filterbanks (b, *clip_shape) of every b of `batch_sizes`.

        Graphs share their memory, as no two of them run at once: the largest is captured first. Raises RuntimeError,
        as torch does, where `forward` does what no capture allows.
        """
        self._input = torch.zeros(max(batch_sizes), *clip_shape, dtype=dtype, device=device)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        with torch.cuda.device(device):
            pool = torch.cuda.graph_pool_handle()
            for b in sorted(set(batch_sizes), reverse=True):
                fbank = self._input[:b]
                side = torch.cuda.Stream()
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(WARMUP_FORWARDS):
                        forward(fbank)
                torch.cuda.current_stream().wait_stream(side)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool):
                    logits = forward(fbank)
                self._graphs[b] = graph, logits

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes that there is a graph for."""
        return tuple(sorted(self._graphs))

    def __call__(self, fbank: Tensor) -> Tensor:
        """(b, f, m) -> logits (b, c), which the next call does not overwrite. Raises KeyError for another b."""
        graph, logits = self._graphs[fbank.shape[0]]
        # Blocking where it comes from the CPU: the caller may write into it as soon as this returns.
        self._input[: fbank.shape[0]].copy_(fbank)
        graph.replay()
        return logits.clone()
