"""Profiles of models in plain torch.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor

from bench.profiling.labels import MERGING
from bench.profiling.stages import Labels, labelled
from bench.profiling.tables import Profile
from bench.profiling.trace import DeviceTimes
from bench.profiling.tracing import check_stages, profile_of, record, with_and_without
from fastast.model import AudioSpectrogramTransformer


def profile_model(
    name: str, model: AudioSpectrogramTransformer, fbank: Tensor, folder: Path, *, forwards: int, device: str
) -> Profile:
    """Profile a model on fbank (b, f, m) and write its trace to `folder`, where it replaces an older one of that name.

    Raises RuntimeError where what ran is not what the model's reduction planned: its times would belong to another.
    """
    call = partial(model, fbank)
    with labelled(model) as labels:
        trace, times = record(
            call, name, folder, forwards, device, check=lambda times: _check(model, labels, times, forwards)
        )
    seconds = [with_and_without(partial(labelled, model), call, device) for _ in range(forwards)]
    return profile_of(name, trace, times, labels.tokens, batch_size=fbank.shape[0], seconds=seconds)


def _check(model: AudioSpectrogramTransformer, labels: Labels, times: dict[str, DeviceTimes], forwards: int) -> None:
    """Raise RuntimeError where labels or tokens are not those of the model's plan."""
    removals = model.attached.removals if model.attached else (0,) * len(model.blocks)
    before = model.geometry.num_tokens
    for block, r in enumerate(removals, 1):
        planned, before = (before, before - r), before - r
        seen = labels.tokens.get(block)
        if seen != planned:
            raise RuntimeError(f"block {block}: tokens in and out are {seen}, planned were {planned}")
    wanted = {block: {"attention", "mlp", *(MERGING if r > 0 else ())} for block, r in enumerate(removals, 1)}
    check_stages(times, wanted, forwards, "bench.profiling.stages")
