"""Profiles of cells on the engine: its labelled eager forward, and the replay of its CUDA graph.

The host replays a graph with a single call, so the trace cannot assign kernels to stages. Stages and blocks therefore
come from the eager forward, which launches the same kernels one by one.
Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import record_function

from bench.cell import baselines
from bench.cell.inputs import synthetic_input
from bench.profiling.by_stage import KernelRow, kernel_rows
from bench.profiling.engine_stages import expected_stages, labelled_engine
from bench.profiling.floors import with_floors
from bench.profiling.labels import FORWARD
from bench.profiling.model_capture import profile_model
from bench.profiling.tables import Profile, without_shares
from bench.profiling.trace import DeviceTimes
from bench.profiling.tracing import check_stages, profile_of, record, with_and_without
from bench.sweep.cells import Cell
from fastast.engine import Engine
from fastast.engine.runners import PlainRunner
from fastast.kernels import interpreted
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import PerBlock

GRAPH = "graph"
"""Subfolder of an arm's folder that receives the trace of the replay."""
INTERPRETED = (
    "the kernels ran in Triton's interpreter: these are the times of Python, no GPU ran anything, and shares and the "
    "table of kernels are left out"
)


def profile_engines(cell: Cell, model: AudioSpectrogramTransformer, folder: Path, forwards: int) -> tuple[Profile, ...]:
    """Profile on the engine the candidate, the unmerged model and, if it is a baseline of the cell, the oracle."""
    reduction = cell.reduction
    arms: dict[str, TokenReduction | None] = {"unmerged": None}
    if reduction is not None:
        arms = {"candidate": reduction, **arms}
        if "slice" in cell.question["measure"]["baselines"]:
            arms["slice"] = baselines.slicing(PerBlock(reduction.removals(model.geometry)), reduction.place)
    size = cell.batch_size if isinstance(cell.batch_size, int) else 1
    with torch.inference_mode():
        fbank = synthetic_input(cell, model, size)
    profiles = []
    for name, what in arms.items():
        engine = baselines.EngineArm(model, what, size, attention=cell.attention).engine
        made = profile_engine(name, engine, fbank, folder / name, forwards=forwards, device=cell.device)
        profiles.append(with_floors(made, engine, model.geometry, size))
    return tuple(profiles)


def profile_engine(name: str, engine: Engine, fbank: Tensor, folder: Path, *, forwards: int, device: str) -> Profile:
    """Profile an engine on fbank (b, f, m), eagerly and, if it has a graph for that batch size, as that graph.

    Traces go to `folder` and its subfolder `graph`. If the engine fell back, the model's own forward is profiled and
    the profile's note says so. Raises RuntimeError where the forward differs from the reduction's plan.
    """
    if engine.path == "plain":
        return _fallback(name, engine, fbank, folder, forwards=forwards, device=device)
    tokens = (engine.encoder.num_tokens, *engine.measure_tokens(fbank))
    if tokens[1:] != engine.tokens_per_block:
        raise RuntimeError(f"tokens that left the blocks are {tokens[1:]}, planned were {engine.tokens_per_block}")
    wanted, call = expected_stages(engine), partial(engine.eagerly, fbank)

    def check(times: dict[str, DeviceTimes]) -> None:
        check_stages(times, wanted, forwards, "bench.profiling.engine_stages")

    def labelled_call() -> None:
        with labelled_engine(engine):
            engine.eagerly(fbank)

    trace, times = record(labelled_call, name, folder, forwards, device, check=check)
    made = profile_of(
        name,
        trace,
        times,
        {block: (tokens[block - 1], tokens[block]) for block in range(1, len(tokens))},
        batch_size=fbank.shape[0],
        seconds=[with_and_without(labelled_call, call, device) for _ in range(forwards)],
        ran="triton_interpreter" if interpreted() else "triton",
    )
    if interpreted():
        return replace(without_shares(made), note=INTERPRETED)
    if fbank.shape[0] in engine.batch_sizes:
        return replace(made, kernels=made.kernels + _replayed(name, engine, fbank, folder, forwards, device))
    return made


def _replayed(
    name: str, engine: Engine, fbank: Tensor, folder: Path, forwards: int, device: str
) -> tuple[KernelRow, ...]:
    """Profile the replay of the engine's graph; return its kernels."""

    def call() -> None:
        with record_function(FORWARD):
            engine(fbank)

    def check(times: dict[str, DeviceTimes]) -> None:
        if "cuda" not in times or not all(times["cuda"].forwards):
            raise RuntimeError("the trace of the graph's replay has a forward without kernels of the GPU")

    _, times = record(call, f"{name}_{GRAPH}", folder / GRAPH, forwards, device, check=check)
    return kernel_rows(times, "graph")


def _fallback(name: str, engine: Engine, fbank: Tensor, folder: Path, *, forwards: int, device: str) -> Profile:
    assert isinstance(engine.runner, PlainRunner)
    model = engine.runner.model
    assert isinstance(model, AudioSpectrogramTransformer)  # as every cell has
    with torch.inference_mode():
        made = profile_model(name, model, fbank, folder, forwards=forwards, device=device)
    note = f"the engine fell back, as {engine.why_plain}; this is the model's own forward in plain torch"
    return replace(made, note=note)
