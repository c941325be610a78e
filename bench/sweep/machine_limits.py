"""Reject what this machine cannot run in any case: engines, more threads than can run, inputs beyond its memory.

Memory is estimated from below: what passes may still run out of memory, which is then recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.sweep.cells import Cell
from bench.sweep.complaints import ConfigError, too_many_threads
from bench.sweep.config import SweepConfig
from bench.sweep.engines import find_engine
from bench.sweep.strides import at_stride
from fastast.system.processors import most_threads

if TYPE_CHECKING:
    from fastast.geometry import Geometry

_WIDTHS = 4
"""Tensors of the size of its tokens that a block holds at once, at least: its input, queries, keys and values."""


def check_machine(config: SweepConfig, cells: Sequence[Cell], shown: str = "sweep") -> None:
    """Raise ConfigError with all that cannot run on this machine; `shown` is the name of the sweep's file."""
    problems = []
    threads, most = config.measure.threads, most_threads()
    if threads is not None and threads > most:
        problems.append(f"{shown}: {too_many_threads(threads, most)}")
    for name in dict.fromkeys(cell.model.engine for cell in cells):
        try:
            find_engine(name).require()
        except ValueError as error:
            problems.append(f"{shown}: grid.engine.{config.grid.engine.index(name)}: {error}")
    problems += _attention_problems(config, cells, shown)
    own = _geometry(config)
    memory = {device: _memory_bytes(device) for device in {cell.device for cell in cells}}
    inputs: dict[tuple[object, ...], Cell] = {}
    for cell in cells:
        inputs.setdefault((cell.model.stride, cell.dtype, cell.device, cell.batch_size), cell)
    for cell in inputs.values():
        geometry = at_stride(own, cell.model.stride)
        clip, there = least_bytes(geometry, cell.dtype), memory[cell.device]
        batch = cell.batch_size if isinstance(cell.batch_size, int) and clip <= there else 1
        if batch * clip <= there:
            continue
        needs = f"take {batch * clip / 2**30:,.0f} GiB and more, {cell.device} has {there / 2**30:,.0f} GiB here"
        if batch > 1:
            where = f"{shown}: grid.batch_size.{config.grid.batch_size.index(batch)}"
            problems.append(f"{where}: {batch:,} clips {needs}; give at most {there // clip:,}")
        else:  # tokens grow in proportion to frames
            frames = geometry.num_frames
            problems.append(
                f"{shown}: model.frames: {frames:,} frames {needs}; give at most {frames * there // clip:,}"
            )
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _attention_problems(config: SweepConfig, cells: Sequence[Cell], shown: str) -> list[str]:
    """Return why attention kernels that cells ask for cannot run here, each with its key."""
    import torch

    from fastast.attention.flash import FLASH_KERNELS, why_not_flash

    found = []
    for attention, device, dtype in dict.fromkeys((cell.attention, cell.device, cell.dtype) for cell in cells):
        if attention in FLASH_KERNELS and (why := why_not_flash(attention, device, getattr(torch, dtype))):
            found.append(f"{shown}: grid.attention.{config.grid.attention.index(attention)}: '{attention}': {why}")
    return found


def least_bytes(geometry: Geometry, dtype: str) -> int:
    """Return the least bytes that a forward of one clip takes: its filterbank and what one block holds at once."""
    numbers = geometry.num_frames * geometry.num_mel_bins + _WIDTHS * geometry.num_tokens * geometry.embed_dim
    return numbers * (1 if dtype == "int8" else 2 if dtype.endswith("16") else 4)


def _geometry(config: SweepConfig) -> Geometry:
    from fastast.commands.describe import model_geometry

    geometry = model_geometry(config.model.name, config.model.geometry)
    return geometry if config.model.frames is None else replace(geometry, num_frames=config.model.frames)


def _memory_bytes(device: str) -> int:
    if device == "cpu":
        import psutil

        return int(psutil.virtual_memory().total)
    import torch

    return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
