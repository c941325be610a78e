"""The sounds of the page: examples to hear, and the filterbanks that the model sees of them.

Shapes: `s` samples, `f` frames, `m` mel bins, `f'` and `t'` patches along frequency and time.
"""

from __future__ import annotations

import base64
import io
import wave
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fastast.geometry import Geometry

SAMPLE_RATE = 16_000
DARKEST, BRIGHTEST = 0.02, 0.995
"""Quantiles of the filterbank at the ends of the colour map, as in `fastast.viz`."""


def example_sounds() -> list[tuple[str, bytes]]:
    """Return name and content of every example that comes with FastAST."""
    folder = resources.files("fastast") / "assets" / "examples"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".ogg")), key=lambda path: path.name)
    return [(path.name, path.read_bytes()) for path in paths]


def sound_credits() -> str:
    """Return the text that says whose recordings the examples are, and under which licences."""
    text = (resources.files("fastast") / "assets" / "examples" / "README.md").read_text(encoding="utf-8")
    return " ".join(text.replace("`", "").split())


def as_wav(samples: NDArray[np.floating]) -> str:
    """Return (s,) in [-1, 1] as a WAV file in base64: what the model hears, in a form that all browsers play."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    return base64_of(buffer.getvalue())


def draw_sound(fbank: NDArray[np.floating], geometry: Geometry) -> dict[str, Any]:
    """Return a filterbank (f, m) in 256 steps, and in the same steps the mean of each patch's own cell (f', t').

    Raises ValueError where the filterbank does not have the geometry's shape.
    """
    from fastast.viz import group_means

    if fbank.shape != (geometry.num_frames, geometry.num_mel_bins):
        raise ValueError(f"page: the filterbank has shape {fbank.shape}, which is not the model's")
    low, high = np.quantile(fbank, [DARKEST, BRIGHTEST])
    steps = ((fbank - low) / (high - low) * 255).clip(0, 255)  # (f, m)
    alone = np.arange(geometry.num_patches).reshape(geometry.grid)
    return {
        "fbank": base64_of(steps.round().astype(np.uint8).tobytes()),
        "cells": group_means(steps, alone, geometry).ravel().round(2).tolist(),
    }


def shape_of(geometry: Geometry) -> dict[str, Any]:
    """Return what drawing patches needs of a geometry."""
    from fastast.frontend.filterbank import SHIFT_SECONDS

    names = ("num_frames", "num_mel_bins", "patch_size", "fstride", "tstride", "depth", "num_tokens")
    return {name: getattr(geometry, name) for name in names} | {
        "grid": list(geometry.grid),
        "num_prefix_tokens": geometry.num_prefix_tokens,
        "frame_seconds": SHIFT_SECONDS,
    }


def colour_map(name: str = "magma") -> str:
    """Return 256 colours of matplotlib, three bytes each, in base64."""
    import matplotlib

    return base64_of(matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3].tobytes())


def base64_of(content: bytes) -> str:
    """Return bytes in base64."""
    return base64.b64encode(content).decode()
