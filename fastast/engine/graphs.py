"""A forward captured as CUDA graphs, one for every batch size: a launch costs the same whatever runs inside.

Shapes: `b` batch, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARMUP_FORWARDS = 3
"""Forwards before a capture: they compile kernels and let libraries allocate, which a capture does not allow."""


class CapturedForward:
    """One CUDA graph for each batch size, over one set of static input buffers and one pool of memory."""

    def __init__(
        self,
        forward: Callable[..., Tensor],
        batch_sizes: Sequence[int],
        buffers: tuple[Tensor, ...],
        *,
        device: torch.device,
    ) -> None:
        """Capture `forward` for the first b rows of `buffers`, for every b of `batch_sizes`.

        Graphs share their memory, as no two of them run at once: the largest is captured first. Raises RuntimeError,
        as torch does, where `forward` does what no capture allows.
        """
        self._buffers = buffers
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        with torch.cuda.device(device):
            pool = torch.cuda.graph_pool_handle()
            # Its own: torch's stream for captures is of whichever device the process captured on first. Nothing has run
            # on this one, so that what cuBLAS keeps for every stream comes from the pool and lives with the graphs.
            stream = torch.cuda.Stream()
            for b in sorted(set(batch_sizes), reverse=True):
                inputs = [buffer[:b] for buffer in buffers]
                for _ in range(WARMUP_FORWARDS):
                    forward(*inputs)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool, stream=stream):  # which waits for the device first
                    logits = forward(*inputs)
                self._graphs[b] = graph, logits

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes that there is a graph for."""
        return tuple(sorted(self._graphs))

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Inputs of b rows, none larger than its buffer -> logits (b, c), which the next call does not overwrite.

        What an input leaves of its buffer keeps what was there. Raises KeyError for another b.
        """
        graph, logits = self._graphs[len(inputs[0])]
        for buffer, tensor in zip(self._buffers, inputs, strict=True):
            # Blocking where it comes from the CPU: the caller may write into it as soon as this returns.
            buffer[tuple(slice(size) for size in tensor.shape)].copy_(tensor)
        graph.replay()
        return logits.clone()
