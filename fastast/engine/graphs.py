"""A forward captured as CUDA graphs, one for each batch size: launching one costs the same whatever runs inside.

Shapes: `b` batch, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARMUP_FORWARDS = 3
"""Forwards before each capture: they compile kernels and let libraries allocate, which is forbidden in a capture."""


class CapturedForward:
    """One CUDA graph for each batch size, all with the same static input buffers and memory pool."""

    def __init__(
        self,
        forward: Callable[..., Tensor],
        batch_sizes: Sequence[int],
        buffers: tuple[Tensor, ...],
        *,
        device: torch.device,
    ) -> None:
        """Capture `forward` on the first b rows of `buffers`, for every b in `batch_sizes`.

        Graphs share their memory, as no two of them run at once; the largest is captured first. Raises RuntimeError
        where `forward` does something that torch does not allow in a capture.
        """
        self._buffers = buffers
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        with torch.cuda.device(device):
            pool = torch.cuda.graph_pool_handle()
            # A new stream: torch's stream for captures belongs to whichever device the process captured on first.
            # Nothing has run on this one, so cuBLAS's workspace for it comes from the pool and lives with the graphs.
            stream = torch.cuda.Stream()
            for b in sorted(set(batch_sizes), reverse=True):
                inputs = [buffer[:b] for buffer in buffers]
                for _ in range(WARMUP_FORWARDS):
                    forward(*inputs)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool, stream=stream):  # waits for the device first
                    logits = forward(*inputs)
                self._graphs[b] = graph, logits

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes that have a graph, in ascending order."""
        return tuple(sorted(self._graphs))

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the logits (b, c) of inputs of b rows, none larger than its buffer; no later call overwrites them.

        The part of a buffer that an input does not fill keeps its old contents. Raises KeyError where no graph has b
        rows.
        """
        graph, logits = self._graphs[len(inputs[0])]
        for buffer, tensor in zip(self._buffers, inputs, strict=True):
            # Blocking for input on the CPU, as the caller may write into it as soon as this returns.
            buffer[tuple(slice(size) for size in tensor.shape)].copy_(tensor)
        graph.replay()
        return logits.clone()
