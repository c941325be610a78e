"""What an engine is given, and how that becomes a filterbank.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Input(Protocol):
    """How an engine reads what it is called with."""

    names: dict[str, str]
    """What its stages run on: `triton` or `torch`."""
    what: str
    """What it takes, for `repr` of the engine; empty for filterbanks."""

    def read(self, given: Any) -> tuple[Tensor, ...]:
        """Return checked tensors whose first axis is the batch, on any device. Raises ValueError for what is wrong."""
        ...

    def fbank(self, *read: Tensor) -> Tensor:
        """Return the normalised filterbank (b, f, m) of what was read, in the engine's dtype on its device."""
        ...

    def buffers(self, batch_size: int) -> tuple[Tensor, ...]:
        """Return tensors that any `read` of that batch can be copied into, at the beginning of every axis."""
        ...


class Filterbanks:
    """Filterbanks as the model takes them."""

    what = ""

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
        """`shape` is frames and mel bins."""
        self.names: dict[str, str] = {}
        self._shape = shape
        self._dtype, self._device = dtype, device

    def read(self, given: Tensor) -> tuple[Tensor, ...]:
        """Check a filterbank (b, f, m)."""
        if not isinstance(given, Tensor):
            raise ValueError(
                f"engine: a {type(given).__name__} is no filterbank; give a tensor (batch, {self._shape[0]} frames, "
                f"{self._shape[1]} mel bins), of an array by torch.from_numpy"
            )
        if given.ndim != 3 or tuple(given.shape[1:]) != self._shape or given.shape[0] == 0:
            raise ValueError(
                f"engine: the filterbank has shape {tuple(given.shape)}; this model takes (batch, {self._shape[0]} "
                f"frames, {self._shape[1]} mel bins) with a batch of at least 1. Use fastast.Frontend, compile with "
                "frontend= for an engine that takes waveforms, or load the model with num_frames= and num_mel_bins="
            )
        return (given,)

    def fbank(self, *read: Tensor) -> Tensor:
        """Move and round a filterbank (b, f, m)."""
        return read[0].to(self._device, self._dtype)

    def buffers(self, batch_size: int) -> tuple[Tensor, ...]:
        """Return zeros (b, f, m)."""
        return (torch.zeros(batch_size, *self._shape, dtype=self._dtype, device=self._device),)
