"""Profiling a cell inside its own process: the candidate first, then the unmerged model."""

from __future__ import annotations

from pathlib import Path

import torch

from bench.cell import baselines
from bench.cell.inputs import fed_dtype, synthetic_input
from bench.cell.worker import build_cell_model
from bench.profiling.engine_capture import profile_engines
from bench.profiling.model_capture import profile_model
from bench.profiling.tables import Profile
from bench.sweep.cells import Cell
from bench.sweep.complaints import ConfigError
from fastast.hosts import reduce
from fastast.system.processors import usable_threads
from fastast.system.runtime import set_up


def profile_cell(cell: Cell, folder: Path, forwards: int) -> tuple[Profile, ...]:
    """Profile a cell's candidate and the unmerged model, with equal stride, weights and input, on the cell's engine.

    Traces go to `folder`, in a subfolder per arm. An unmerged cell has only the arm `unmerged`; on the engine, the
    oracle `slice` is profiled too if it is one of the cell's baselines. Raises ConfigError for a cell that cannot be
    profiled: a batch size still to be searched, a scope other than `forward`, another runtime.
    """
    if cell.batch_size == "best":
        raise ConfigError(["profile: this cell searches its batch size; give one, such as -s grid.batch_size=[8]"])
    if cell.measure.scope != "forward":
        raise ConfigError(
            [
                f"profile: measure.scope is '{cell.measure.scope}', and only forwards can be profiled; "
                "-s measure.scope=forward profiles the model's forward"
            ]
        )
    if cell.model.engine not in ("plain", "triton"):
        raise ConfigError(
            [
                f"profile: the engine '{cell.model.engine}' is another runtime, which PyTorch's profiler does not see "
                "into; profile with -s 'grid.engine=[\"plain\"]'"
            ]
        )
    set_up(threads=cell.measure.threads or usable_threads(), memory=cell.measure.allocator)
    model = build_cell_model(cell.model, seed=cell.seed).to(cell.device, fed_dtype(cell.dtype)).eval()
    if cell.model.engine != "plain":
        return profile_engines(cell, model, folder, forwards)
    arms = {"unmerged": baselines.unmerged(model)}
    if cell.reduction is None:
        arms["unmerged"].attention_kernel = cell.attention
    else:
        candidate = baselines.unmerged(model)
        reduce(candidate, cell.reduction, attention=cell.attention)
        arms = {"candidate": candidate, **arms}
    with torch.inference_mode():
        fbank = synthetic_input(cell, model, cell.batch_size or 1)
        return tuple(
            profile_model(name, arm, fbank, folder / name, forwards=forwards, device=cell.device)
            for name, arm in arms.items()
        )
