"""Deterministic proxies for time and memory: counts that do not depend on the machine or its load.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bench.cell.baselines import unmerged
from bench.regression.cases import gate_model, merging_twin, random_input
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace

REMOVALS = (0, 20, 40)
"""Tokens removed per block; 0 is the unmerged model."""
GRAPH_DEPTH = 3
"""Number of blocks in the model whose graphs are counted: all blocks are alike, and tracing twelve takes long."""


class ForwardCounter(TorchDispatchMode):
    """Counts operators of ATen, and the most bytes that their results hold at once; earlier tensors are not counted.

    `launches` are operators that compute something: on a GPU, each starts at least one kernel; views start none.
    Memory used inside an operator is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators = self.launches = self.peak_bytes = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self._before: dict[int, StorageWeakRef] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # A weak reference prevents the address from being reused for another storage.
        for tensor in _tensors((args, kwargs)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._live:
                self._before.setdefault(storage._cdata, StorageWeakRef(storage))
        out = func(*args, **(kwargs or {}))
        self.operators += 1
        self.launches += not func.is_view
        self._live = {key: entry for key, entry in self._live.items() if not entry[0].expired()}
        for tensor in _tensors(out):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._before:
                self._live.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self.peak_bytes = max(self.peak_bytes, sum(size for _, size in self._live.values()))
        return out


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def count(r: int) -> dict[str, int | list[int]]:
    """Return all proxies for a forward of one clip with `r` tokens removed per block."""
    model = _candidate(gate_model(), r)
    fbank, trace = random_input(model, 1), MergeTrace()
    with torch.no_grad():
        model.forward_features(fbank, trace)
        with ForwardCounter() as counter:
            model(fbank)
    return {
        "tokens_per_block": list(trace.tokens_per_block),
        "macs": count_macs_at(r),
        "operators": counter.operators,
        "launches": counter.launches,
        "peak_bytes": counter.peak_bytes,
        "graphs": count_graphs(r),
    }


def count_macs_at(r: int) -> int:
    """Return multiply-accumulates as PyTorch counts them on the meta device; on a CPU it misses attention."""
    with torch.device("meta"):
        model = gate_model()
        fbank = torch.empty(1, model.geometry.num_frames, model.geometry.num_mel_bins)
    model = _candidate(model, r, attention="math")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(fbank)
    return counter.get_total_flops() // 2


def count_graphs(r: int) -> int:
    """Return the number of graphs into which `torch.compile` splits the model; more than one means a graph break."""
    model = gate_model(depth=GRAPH_DEPTH)
    fbank, model = random_input(model, 1), _candidate(model, r)
    with _fresh_dynamo(), torch.no_grad():
        found: int = torch._dynamo.explain(model)(fbank).graph_count
    return found


def _candidate(model: AudioSpectrogramTransformer, r: int, *, attention: str = "auto") -> AudioSpectrogramTransformer:
    if r:
        return merging_twin(model, r, attention=attention)
    twin = unmerged(model)
    twin.attention_kernel = attention
    return twin


@contextmanager
def _fresh_dynamo() -> Iterator[None]:
    import torch._dynamo

    # Every step of tracing is logged for PyTorch's own tools; pytest would show thousands of lines.
    trace = logging.getLogger("torch.__trace")
    disabled, trace.disabled = trace.disabled, True
    torch._dynamo.reset()
    try:
        yield
    finally:
        torch._dynamo.reset()
        trace.disabled = disabled
