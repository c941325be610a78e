"""Define a part of an audio file: what one decoder reads of it.

Shapes: `s` samples of a block, `k` channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastast.data.decoding.errors import AudioError

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
"""Range of sample rates (Hz) that a header may claim."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one decoder reads of a file; nearly all files have a single part."""

    rate: int
    """Sample rate (Hz)."""
    channels: int
    codec: str
    """Container and codec, such as WAV PCM_16."""
    blocks: Iterator[NDArray[np.float32]]
    """Blocks of samples, (s, k) float32, nominally in [-1, 1]. Raises AudioError where the file proves to be cut off or
    damaged."""
    unheard: str = ""
    """Warning about bytes that are not read but may be audio; empty where there are none."""


def check_rate(name: str, rate: int) -> int:
    """Return a sample rate. Raises AudioError where no recording could have it."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(
            f"{name}: its header claims {rate:,} samples per second; FastAST reads {LOWEST_RATE:,} to "
            f"{HIGHEST_RATE:,}. Repair the header, or leave the file out"
        )
    return rate
