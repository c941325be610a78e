"""Convert samples as stored in a WAV file, or sent through a pipe, to float32.

Shapes: `s` samples, `k` channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastast.data.decoding.part import check_rate
from fastast.names import unknown_name

SAMPLE_BYTES = {"u8": 1, "s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4, "f64le": 8}
"""Bytes of a sample by its encoding, in FFmpeg's names (unsigned, signed or floating point, bits, little-endian)."""
_TYPES = {"u8": "u1", "s16le": "<i2", "s24le": "<i4", "s32le": "<i4", "f32le": "<f4", "f64le": "<f8"}
_FULL_SCALE = {"u8": 2.0**7, "s16le": 2.0**15, "s24le": 2.0**31, "s32le": 2.0**31}


@dataclass(frozen=True, kw_only=True)
class PcmStream:
    """Format of a stream of samples."""

    rate: int
    """Sample rate (Hz)."""
    encoding: str = "s16le"
    """Encoding of a sample, one of `SAMPLE_BYTES`."""
    channels: int = 1
    """Number of interleaved channels."""
    num_bytes: int | None = None
    """Bytes of samples in the stream; None where that is unknown until it ends."""

    def __post_init__(self) -> None:
        check_rate("stream", self.rate)
        if self.encoding not in SAMPLE_BYTES:
            raise ValueError(f"stream: {unknown_name('encoding of samples', self.encoding, SAMPLE_BYTES)}")
        if self.channels < 1:
            raise ValueError(f"stream: channels is {self.channels}; it must be at least 1")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return SAMPLE_BYTES[self.encoding] * self.channels

    def decode(self, content: bytes) -> NDArray[np.float32]:
        """Return samples, (s, k) float32, with integers scaled to [-1, 1); `content` must hold complete frames."""
        if self.encoding == "s24le":
            wide = np.zeros((len(content) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)  # the lowest of the 4 bytes stays 0
            content = wide.tobytes()
        values = np.frombuffer(content, _TYPES[self.encoding]).astype(np.float32)
        if self.encoding == "u8":
            values -= 128
        if self.encoding in _FULL_SCALE:
            values /= np.float32(_FULL_SCALE[self.encoding])
        return values.reshape(-1, self.channels)  # (s, k)
