"""The inputs of an engine, and how they become filterbanks.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Input(Protocol):
    """How an engine reads the arguments of a call."""

    names: dict[str, str]
    """What its stages run on: `triton` or `torch`."""
    what: str
    """Kind of input, for the engine's `repr`; empty for filterbanks."""

    def read(self, given: Any) -> tuple[Tensor, ...]:
        """Return checked tensors whose first axis is the batch, on any device. Raises ValueError for invalid input."""
        ...

    def fbank(self, *read: Tensor) -> Tensor:
        """Return the normalised filterbank (b, f, m) of the tensors read, in the engine's dtype on its device."""
        ...

    def buffers(self, batch_size: int) -> tuple[Tensor, ...]:
        """Return tensors into which any `read` of that batch size can be copied, at the beginning of every axis."""
        ...


class Filterbanks:
    """Filterbanks in the shape that the model takes."""

    what = ""

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
        """Take filterbanks of `shape`: frames, mel bins."""
        self.names: dict[str, str] = {}
        self._shape = shape
        self._dtype, self._device = dtype, device

    def read(self, given: Tensor) -> tuple[Tensor, ...]:
        """Check and return a filterbank (b, f, m)."""
        if not isinstance(given, Tensor):
            raise ValueError(
                f"engine: a {type(given).__name__} is not a filterbank; give a tensor (batch, {self._shape[0]} frames, "
                f"{self._shape[1]} mel bins); torch.from_numpy makes one from an array"
            )
        if given.ndim != 3 or tuple(given.shape[1:]) != self._shape or given.shape[0] == 0:
            raise ValueError(
                f"engine: the filterbank has shape {tuple(given.shape)}; this model takes (batch, {self._shape[0]} "
                f"frames, {self._shape[1]} mel bins) with a batch of at least 1. Use fastast.Frontend, compile with "
                "frontend= for an engine that takes waveforms, or load the model with num_frames= and num_mel_bins="
            )
        return (given,)

    def fbank(self, *read: Tensor) -> Tensor:
        """Move a filterbank (b, f, m) to the engine's device and round it to its dtype."""
        return read[0].to(self._device, self._dtype)

    def buffers(self, batch_size: int) -> tuple[Tensor, ...]:
        """Return a buffer of zeros (b, f, m)."""
        return (torch.zeros(batch_size, *self._shape, dtype=self._dtype, device=self._device),)
