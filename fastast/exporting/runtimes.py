"""The runtimes that execute exported files, by name.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fastast.registry import Registry


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """What a runtime made of a graph."""

    runtime: str
    """Name and version."""
    products: Mapping[str, int]
    """Number of matrix products by the type that they are computed in: `float32`, `int8`."""
    attention: str
    """`math` where the graph that the runtime made has a softmax of its own, else `fused`."""


class GraphSession(Protocol):
    """A graph that is loaded and ready to run, on the CPU."""

    threads: int
    """Threads that it computes with."""

    def __call__(self, fbank: NDArray[np.float32]) -> NDArray[np.float32]:
        """fbank (b, f, m) -> logits (b, c)."""
        ...

    def measure_tokens(self, fbank: NDArray[np.float32]) -> tuple[int, ...]:
        """Run and return the tokens that left each block; fbank: (b, f, m)."""
        ...

    def facts(self) -> GraphFacts:
        """Return what the runtime made of the graph."""
        ...


class GraphRuntime(Protocol):
    """What opens a file, with `threads` threads; with `batch_size` for that batch alone, which can be faster."""

    name: str
    """What command lines and sweeps call it."""
    formats: tuple[str, ...]
    """Formats that it reads, the one it is best at first."""

    def require(self) -> None:
        """Raise MissingRuntimeError, naming what to install, where it is not installed."""
        ...

    def open(self, path: Path, *, threads: int, batch_size: int | None = None) -> GraphSession:
        """Load a file. Raises ExportError for one that the runtime cannot read."""
        ...


RUNTIMES: Registry[GraphRuntime] = Registry(
    "runtime",
    {
        "onnxruntime": "fastast.exporting.onnxruntime_session:RUNTIME",
        "openvino": "fastast.exporting.openvino_session:RUNTIME",
    },
    group="fastast.runtimes",
)
"""Every runtime there is."""


def usual_threads(threads: int | None) -> int:
    """Return the threads asked for, else as many as PyTorch has."""
    return torch.get_num_threads() if threads is None else threads
