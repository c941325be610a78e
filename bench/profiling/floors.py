"""Rooflines for a profile's rows: the least time that each stage and kernel could take on this GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from bench.gpu.parts import KernelPart, forward_parts
from bench.gpu.peaks import Peaks, peaks_of
from bench.gpu.roofline import kernel_floors
from bench.profiling.tables import Profile
from fastast.engine import Engine
from fastast.engine.choosing import accelerator_of
from fastast.geometry import Geometry

_HALF = (torch.float16, torch.bfloat16)


def with_floors(profile: Profile, engine: Engine, geometry: Geometry, batch: int) -> Profile:
    """Return an engine's profile with the floors of its stages and kernels on the GPU.

    The profile is returned unchanged where floors are not known: on a GPU of unknown peaks or on a CPU, in float32,
    with a method that chooses in plain torch, or where the engine runs the model's own forward.
    """
    reduction = engine.reduction
    chooses = reduction is not None and accelerator_of(reduction) is None
    if engine.path == "plain" or engine.device.type != "cuda" or engine.dtype not in _HALF or chooses:
        return profile
    peaks = peaks_of(torch.cuda.get_device_name(engine.device))
    if peaks is None:
        return profile
    removals = (0,) * geometry.depth if reduction is None else reduction.removals(geometry)
    parts = forward_parts(geometry, removals, batch, proportional=reduction is None or reduction.proportional)
    return beside(profile, parts, peaks)


def beside(profile: Profile, parts: Sequence[KernelPart], peaks: Peaks) -> Profile:
    """Return a profile whose GPU rows have the floor of the part with the same name."""
    stages, kernels = kernel_floors(parts, peaks)
    return replace(
        profile,
        stages=tuple(
            replace(row, floor_ms=stages[row.stage] * 1e3) if row.device == "cuda" and row.stage in stages else row
            for row in profile.stages
        ),
        kernels=tuple(
            replace(row, floor_ms=kernels[row.name] * 1e3) if row.name in kernels else row for row in profile.kernels
        ),
    )
