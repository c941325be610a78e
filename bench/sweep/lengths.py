"""Lengths of a sweep: whether clips that are shorter than the model's input are padded, or run at their own length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.sweep.data import MIXED, DataRef

if TYPE_CHECKING:
    from fastast.geometry import Geometry


def clip_frames(data: DataRef | None) -> int | None:
    """Return the number of frames that every clip has; None where only reading the clips can tell."""
    if data is None or data.dataset != MIXED:
        return None
    from fastast.frontend.filterbank import SAMPLE_RATE, num_frames

    return num_frames(round(SAMPLE_RATE * getattr(data.options, "seconds")))  # noqa: B009 - of this data set only


def geometry_at_length(geometry: Geometry, length: str, frames: int | None) -> Geometry:
    """Return a model's geometry for clips of `frames` at a length of the grid; its own where `frames` is unknown."""
    if length != "own" or frames is None:
        return geometry
    from fastast.own_length import bucket_frames

    return replace(geometry, num_frames=bucket_frames(geometry, frames))


def length_problem(point: Mapping[str, Any], geometry: Geometry, frames: int | None) -> str | None:
    """Return why a point of the grid cannot run at its clips' own length; None where it can, or where it is padded."""
    if point["length"] != "own":
        return None
    if point["kind"] == "performance":
        return (
            "speed is timed on an input of one length; time a length by itself, with model.frames, and write "
            "kinds = ['quality'], or [[exclude]] kind = 'performance', length = 'own'"
        )
    if point["engine"] != "plain":
        return f"engine '{point['engine']}' has an input of one length; write engine = ['plain']"
    if geometry_at_length(geometry, "own", frames) == geometry and frames is not None:
        return f"clips of {frames} frames fill the input of {geometry.num_frames}; nothing is padded: leave 'own' out"
    return None
