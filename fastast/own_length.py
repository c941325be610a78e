"""Run clips that are shorter than a model's input at their own length: fewer tokens instead of padding.

Shapes: `b` batch, `m` mel bins.

Position embeddings are those that AST gives a model of that length (`fastast.positions`): the middle of the longer
model's. Lengths are rounded up to a few values, so that clips form batches and compiled code is compiled only a few
times.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from fastast.frontend.filterbank import num_frames
from fastast.geometry import Geometry
from fastast.hosts.native import NativeHost
from fastast.model import AudioSpectrogramTransformer
from fastast.positions import adapt_position_embedding

STEP = 8
"""Lengths are rounded up to multiples of this many patches along time: 0.8 s at AST's usual stride of 10 frames."""


def bucket_frames(geometry: Geometry, frames: int) -> int:
    """Return the input length, in frames, at which a clip of `frames` frames is run: at most the model's own."""
    patches = -(-max(0, frames - geometry.patch_size) // geometry.tstride) + 1
    rounded = -(-patches // STEP) * STEP
    return min(geometry.num_frames, geometry.patch_size + (rounded - 1) * geometry.tstride)


class OwnLengths:
    """A model at any length, always with the same weights; reductions are not carried over."""

    def __init__(self, model: nn.Module) -> None:
        """Raises ValueError for all but FastAST's own AST in PyTorch, whose position embeddings are known."""
        if not isinstance(model, AudioSpectrogramTransformer):
            raise ValueError(
                f"own length: a {type(model).__name__} has a fixed length, or none; give a checkpoint of an AST, or "
                "leave --own-length out"
            )
        self._model = model
        self._positions: tuple[int, int | None] | None = None
        self._at: dict[int, AudioSpectrogramTransformer] = {}

    def frames(self, samples: int) -> int:
        """Return the input length, in frames, for a clip of `samples` samples at 16 kHz."""
        return bucket_frames(self._model.geometry, num_frames(samples))

    def model(self, frames: int) -> AudioSpectrogramTransformer:
        """Return the model for an input of `frames` frames, cached until the original's position embeddings change."""
        embedded = self._model.pos_embed
        positions = (id(embedded), None if embedded.is_inference() else embedded._version)
        if positions != self._positions:
            self._at, self._positions = {}, positions
        if frames not in self._at:
            self._at[frames] = at_length(self._model, frames)
        return self._at[frames]

    def groups(self, frames: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield every input length at which clips of these `frames` are run, with the indices of its clips."""
        buckets = [bucket_frames(self._model.geometry, count) for count in frames]
        for length in sorted(set(buckets)):
            yield length, [place for place, bucket in enumerate(buckets) if bucket == length]


def at_length(model: AudioSpectrogramTransformer, frames: int) -> AudioSpectrogramTransformer:
    """Return a copy of `model` for an input (b, frames, m), without a reduction and the kernel that came with it.

    All weights but the position embeddings are shared. Raises ValueError where not even one patch fits.
    """
    geometry = dataclasses.replace(model.geometry, num_frames=frames)
    twin = copy.copy(model)
    twin._parameters = dict(model._parameters)
    with torch.inference_mode(False), torch.no_grad():
        position = adapt_position_embedding(model.pos_embed, model.geometry.grid, geometry.grid)
        twin.pos_embed = nn.Parameter(position.detach().clone(), requires_grad=False)
    twin.geometry = geometry
    NativeHost(twin).detach()
    return twin
