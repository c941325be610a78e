"""What a CUDA graph may hold, looked at without a GPU: forwards on tensors of one that is not there.

`python -m tests.fastast.engine.capturable` prints for every method which operators of its second forward a tensor of
the CPU goes into or comes out of; where the host asks for a tensor's contents, that raises. In a process of its own:
kernels that were imported for a GPU cannot run in Triton's interpreter, where other tests have them.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import fastast
from fastast.engine.choosing import why_not_reduction
from fastast.engine.forward import PackedForward
from fastast.engine.kernel_table import triton_kernels
from fastast.engine.waveforms import KernelWaveforms
from fastast.engine.weights import pack
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import AttachedReduction, TokenReduction, method_names
from fastast.schedule import Constant
from tests.fastast.engine.conftest import TINY
from tests.fastast.kernels.ahead_of_time import _recorded
from tests.fastast.merge_weights import needed

GPU, HALF = torch.device("cuda:0"), torch.bfloat16


class OfTheHost(TorchDispatchMode):
    """Notes operators that a tensor of the CPU goes into or comes out of."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, out))
        if any(isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu" for leaf in leaves):
            self.seen.append(str(func))
        return out


def operators_of_the_host(method: str) -> list[str] | None:
    """Return those of a method's forward, from waveforms to logits, after the first; None where plain torch runs it."""
    encoder = AudioSpectrogramTransformer(TINY).encoder
    reduction = TokenReduction(schedule=Constant(3), method=method, options=needed(method, encoder))
    if why_not_reduction(reduction):
        return None
    attached = AttachedReduction.of(reduction, encoder)  # which reads the file of a learned one
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), _recorded([]):
        with torch.device(GPU):
            model = AudioSpectrogramTransformer(TINY).eval()
        front = KernelWaveforms(fastast.Frontend(TINY, fastast.frontend.AUDIOSET, check=False), HALF, GPU)
        forward = PackedForward(pack(model, dtype=HALF, device=GPU), attached, triton_kernels(HALF))
        clips = front.buffers(2)
        forward(front.fbank(*clips))  # as before a capture: what is drawn or placed then is kept
        with OfTheHost() as host:
            logits = forward(front.fbank(*clips))
    assert (tuple(logits.shape), logits.device) == ((2, TINY.num_classes), GPU)
    return host.seen


if __name__ == "__main__":
    torch.cuda.device = lambda device: nullcontext()  # type: ignore[assignment, misc]
    found: dict[str, list[str] | str | None] = {}
    for name in method_names():
        try:
            found[name] = operators_of_the_host(name)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))
