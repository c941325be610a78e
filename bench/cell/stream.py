"""The arm of the scope `stream`: it times what `fastast listen` does for every hop of sound.

Shapes: `s` samples of a window, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import numpy as np
import torch
from torch import Tensor

from fastast.inference.live import BLOCK_SECONDS
from fastast.inference.windows import SAMPLE_RATE, hop_samples, trail


class StreamArm:
    """An arm on an endless stream: every call reads one more hop, in blocks, and labels the latest window.

    Blocks are available immediately, so the time of a call is the latency of a label if the model keeps up.
    """

    def __init__(self, arm: Callable[[Tensor], Tensor], sound: Tensor, hop_seconds: float, device: str) -> None:
        """`arm` takes waveforms (1, s); `sound`, (1, s), is repeated to form the stream."""
        samples = sound.shape[1]
        hop, block = hop_samples(hop_seconds, samples), int(BLOCK_SECONDS * SAMPLE_RATE)
        blocks = np.split(sound[0].cpu().numpy(), range(block, samples, block))
        self._windows = trail(cycle(blocks), samples, hop)
        self._arm, self._device = arm, device
        for _ in range(-(-samples // hop) - 1):
            next(self._windows)  # skip windows shorter than the model's input

    def __call__(self) -> Tensor:
        """Return the logits (1, c) of the next window."""
        _, window = next(self._windows)  # (s,)
        return self._arm(torch.from_numpy(window)[None].to(self._device))
