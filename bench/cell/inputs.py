"""Inputs of the arms: created once, on the device, outside the timing.

Shapes: `b` batch, `s` samples, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.sweep.cells import Cell
from fastast.engine.waveforms import input_samples
from fastast.frontend import AUDIOSET, Frontend
from fastast.model import AudioSpectrogramTransformer

LOUDNESS = 0.1
"""Standard deviation of the noise in waveforms, which are clamped to [-1, 1]."""
POSITIVES = 0.01
"""Share of synthetic labels that are 1; clips of AudioSet have two or three of 527 classes."""
FED = {
    "forward": "normal noise on the device; the model's forward is timed, without features or copies",
    "waveform": "noise as long as the model's input, as waveforms on the device; front end and forward are timed",
    "stream": "noise in blocks of 0.1 s; blocks of a hop to logits of the last window are timed, with the front end",
    "training_step": "normal noise and random labels on the device; forward, loss, backward and optimiser are timed",
}
"""By scope, the text of a record that says what the input is and what is timed."""


class FromWaveforms:
    """A forward preceded by the front end in plain torch."""

    def __init__(self, frontend: Frontend, forward: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
        self._frontend, self._forward, self._dtype = frontend, forward, dtype

    def __call__(self, waveforms: Tensor) -> Tensor:
        """(b, s) -> logits (b, c)."""
        return self._forward(self._frontend(waveforms).to(self._dtype))


def fed_dtype(name: str) -> torch.dtype:
    """Return the dtype of weights and inputs in PyTorch; for int8 it is float32, which the engine quantises."""
    found: torch.dtype = torch.float32 if name == "int8" else getattr(torch, name)
    return found


def inputs_of(cell: Cell, model: AudioSpectrogramTransformer, arm: str, batch_size: int) -> tuple[Tensor, ...]:
    """Return the arguments of an arm in the cell's scope: filterbanks, waveforms, or filterbanks and labels.

    In the scope `stream` there are none, as its arms read their own stream.
    """
    if cell.measure.scope == "stream":
        return ()
    if cell.measure.scope == "training_step":
        return synthetic_input(cell, model, batch_size).float(), synthetic_labels(cell, model, batch_size)
    if cell.measure.scope == "forward":
        return (synthetic_input(cell, model, batch_size),)
    waveforms = synthetic_waveforms(cell, model, batch_size)
    if arm != "model_alone":
        return (waveforms,)
    return (frontend_of(model)(waveforms).to(fed_dtype(cell.dtype)),)


def synthetic_input(cell: Cell, model: AudioSpectrogramTransformer, batch_size: int) -> Tensor:
    """Return normal noise (b, f, m) from the cell's seed, on its device and in its dtype."""
    geometry = model.geometry
    shape = (batch_size, geometry.num_frames, geometry.num_mel_bins)
    return _noise(cell, shape).to(cell.device, fed_dtype(cell.dtype))


def synthetic_waveforms(cell: Cell, model: AudioSpectrogramTransformer, batch_size: int) -> Tensor:
    """Return normal noise (b, s) float32 that fills the model's input, from the cell's seed, on its device."""
    shape = (batch_size, input_samples(model.geometry.num_frames))
    return (LOUDNESS * _noise(cell, shape)).clamp(-1, 1).to(cell.device)


def synthetic_labels(cell: Cell, model: AudioSpectrogramTransformer, batch_size: int) -> Tensor:
    """Return labels (b, c) float32, 0 or 1, from the cell's seed, on its device."""
    generator = torch.Generator().manual_seed(cell.seed)
    labels = torch.rand(batch_size, model.geometry.num_classes, generator=generator) < POSITIVES
    return labels.to(cell.device, torch.float32)


def frontend_of(model: AudioSpectrogramTransformer) -> Frontend:
    """Return the model's front end; models with random weights get AudioSet's normalisation.

    Samples are not checked for NaN, as the host would have to wait for the device in every call.
    """
    return Frontend(model.geometry, model.normalisation or AUDIOSET, check=False)


def _noise(cell: Cell, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(cell.seed))
