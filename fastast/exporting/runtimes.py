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
    """How a runtime executes a graph."""

    runtime: str
    """Name and version of the runtime."""
    products: Mapping[str, int]
    """Number of matrix products by the type in which they are computed: `float32` or `int8`."""
    attention: str
    """`math` if the optimised graph has a separate softmax, else `fused`."""


class GraphSession(Protocol):
    """A graph that is loaded and ready to run on the CPU."""

    threads: int
    """Number of threads that it computes with."""

    def __call__(self, fbank: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map a filterbank (b, f, m) to logits (b, c)."""
        ...

    def measure_tokens(self, fbank: NDArray[np.float32]) -> tuple[int, ...]:
        """Run a batch (b, f, m) and return the number of tokens that left each block."""
        ...

    def facts(self) -> GraphFacts:
        """Return how the runtime executes the graph."""
        ...


class GraphRuntime(Protocol):
    """A runtime, which opens exported files."""

    name: str
    """Name on command lines and in sweeps."""
    formats: tuple[str, ...]
    """Formats that it reads, the best one first."""

    def require(self) -> None:
        """Raise MissingRuntimeError, naming what to install, if the runtime is not installed."""
        ...

    def open(self, path: Path, *, threads: int, batch_size: int | None = None) -> GraphSession:
        """Load a file to run it with `threads` threads, for batches of `batch_size` alone if given: that can be faster.

        Raises ExportError for a file that the runtime cannot read.
        """
        ...


RUNTIMES: Registry[GraphRuntime] = Registry(
    "runtime",
    {
        "onnxruntime": "fastast.exporting.onnxruntime_session:RUNTIME",
        "openvino": "fastast.exporting.openvino_session:RUNTIME",
    },
    group="fastast.runtimes",
)
"""All runtimes by name, with those of other packages."""


def usual_threads(threads: int | None) -> int:
    """Return `threads` if given, else the number of threads that PyTorch uses."""
    return torch.get_num_threads() if threads is None else threads
