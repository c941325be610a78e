"""Profiles of models in plain torch.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor

from bench.profiling.labels import FORWARD, MERGING
from bench.profiling.stages import PLAIN, Labels
from bench.profiling.tables import Profile
from bench.profiling.trace import DeviceTimes
from bench.profiling.tracing import check_stages, profile_of, record, with_and_without
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace


def profile_model(
    name: str, model: AudioSpectrogramTransformer, fbank: Tensor, folder: Path, *, forwards: int, device: str
) -> Profile:
    """Profile a model on fbank (b, f, m) and write its trace to `folder`, replacing an older one of that name.

    Raises RuntimeError where the forward differs from the plan of the model's reduction: its times would describe
    something else.
    """
    tokens = tokens_in_and_out(model, fbank)
    watched = partial(model, fbank, scope=Labels({**PLAIN, FORWARD: FORWARD}))
    trace, times = record(
        watched, name, folder, forwards, device, check=lambda times: _check(model, tokens, times, forwards)
    )
    seconds = [with_and_without(watched, partial(model, fbank), device) for _ in range(forwards)]
    return profile_of(name, trace, times, tokens, batch_size=fbank.shape[0], seconds=seconds)


def tokens_in_and_out(model: AudioSpectrogramTransformer, fbank: Tensor) -> dict[int, tuple[int, int]]:
    """Run a forward and return the number of tokens entering and leaving each block, counted from 1."""
    trace = MergeTrace()
    model.forward_features(fbank, trace)
    before = (model.geometry.num_tokens, *trace.tokens_per_block)
    return {block: (before[block - 1], before[block]) for block in range(1, len(before))}


def _check(
    model: AudioSpectrogramTransformer,
    tokens: dict[int, tuple[int, int]],
    times: dict[str, DeviceTimes],
    forwards: int,
) -> None:
    """Raise RuntimeError where labels or numbers of tokens differ from the model's plan."""
    removals = model.attached.removals if model.attached else (0,) * len(model.blocks)
    before = model.geometry.num_tokens
    for block, r in enumerate(removals, 1):
        planned, before = (before, before - r), before - r
        seen = tokens.get(block)
        if seen != planned:
            raise RuntimeError(f"block {block}: tokens in and out are {seen}, planned were {planned}")
    wanted = {block: {"attention", "mlp", *(MERGING if r > 0 else ())} for block, r in enumerate(removals, 1)}
    check_stages(times, wanted, forwards, "bench.profiling.stages")
