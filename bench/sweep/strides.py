"""Strides of a sweep: steps between patches along both axes, 0 for the model's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.sweep.complaints import ConfigError

if TYPE_CHECKING:
    from fastast.geometry import Geometry


def other_stride(stride: int, geometry: Geometry) -> int | None:
    """Return a stride of the grid; None where it is the model's own."""
    return None if stride in (0, geometry.fstride) and stride in (0, geometry.tstride) else stride


def at_stride(geometry: Geometry, stride: int | None) -> Geometry:
    """Return a model's geometry at another stride, or at its own."""
    return geometry if stride is None else replace(geometry, fstride=stride, tstride=stride)


def check_strides(strides: Sequence[int], geometry: Geometry, shown: str) -> None:
    """Raise ConfigError where patches would leave parts of the spectrogram out."""
    side = geometry.patch_size
    problems = [
        f"{shown}: grid.stride.{i}: is {stride}; patches of {side} would leave out what is between them; allowed: 1 to "
        f"{side}, or 0 for the model's own"
        for i, stride in enumerate(strides)
        if stride > side
    ]
    if problems:
        raise ConfigError(problems)
