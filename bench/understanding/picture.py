"""Convert a clip, and the blocks in which its patches go, to text and back.

Shapes: `c` clips, `f` frames, `m` mel bins, `f'` and `t'` patches along frequency and time, `k` blocks.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.understanding.record import Picture
from fastast.frontend.filterbank import SHIFT_SECONDS
from fastast.geometry import Geometry

_STAYS = "."
_LETTERS = string.ascii_lowercase + string.ascii_uppercase
_CONTRAST = (0.02, 0.995)
"""Quantiles that are drawn in black and in white."""


def choose_picture(events: NDArray[np.bool_]) -> int:
    """Return the first clip in which events sound for about half of the time, (c, t') -> index."""
    return int(np.abs(events.mean(axis=1) - 0.5).round(1).argmin())


def picture_of(clip: str, fbank: NDArray[np.floating], events: NDArray[np.bool_], geometry: Geometry) -> Picture:
    """Return a clip as text. fbank: (f, m). events: (t',)."""
    frames, mels = (size - size % 2 for size in fbank.shape)
    pixels = fbank[:frames, :mels].reshape(frames // 2, 2, mels // 2, 2).mean(axis=(1, 3)).T  # (m / 2, f / 2)
    low, high = np.quantile(pixels, _CONTRAST)
    bytes_ = np.clip((pixels - low) / max(high - low, 1e-9) * 255, 0, 255).round().astype(np.uint8)
    rows, columns = geometry.grid
    margin_t, margin_f = ((geometry.patch_size - stride) / 2 for stride in (geometry.tstride, geometry.fstride))
    return Picture(
        clip=clip,
        seconds=round(fbank.shape[0] * SHIFT_SECONDS, 4),
        edges_s=(round(margin_t * SHIFT_SECONDS, 4), round((margin_t + columns * geometry.tstride) * SHIFT_SECONDS, 4)),
        edges_mel=(margin_f, margin_f + rows * geometry.fstride),
        mel_bins=fbank.shape[1],
        spectrogram=tuple(row.tobytes().hex() for row in bytes_),
        sounding="".join("#" if sounds else _STAYS for sounds in events),
    )


def pixels_of(picture: Picture) -> NDArray[np.uint8]:
    """Return the spectrogram as pixels, (m / 2, f / 2), lowest frequency first."""
    return np.stack([np.frombuffer(bytes.fromhex(row), dtype=np.uint8) for row in picture.spectrogram])


def gone_text(gone: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return the block in which each patch's token goes as text, (k, f', t') -> a row per row of patches."""
    first = np.where(gone.any(axis=0), gone.argmax(axis=0), -1)  # (f', t')
    return tuple("".join(_STAYS if block < 0 else _LETTERS[block] for block in row) for row in first)


def gone_blocks(rows: Sequence[str]) -> NDArray[np.float64]:
    """Return that block for every patch, counted from 1, (f', t'); NaN if it keeps its own token to the end."""
    return np.array([[np.nan if letter == _STAYS else _LETTERS.index(letter) + 1 for letter in row] for row in rows])
