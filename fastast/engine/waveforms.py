"""The front end inside an engine: clips -> normalised filterbank, with the kernel or in plain torch.

Shapes: `b` batch, `s` samples, `f` frames, `m` mel bins.

Each frame has its own mean subtracted, so nothing after the model's last frame or the clip's end changes it: every clip
is cut to the samples that fill the model's input, a graph's buffer is as long, and the clip's length says which frames
are its own. One captured graph then serves clips of all lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastast.frontend import Frontend, one_batch
from fastast.frontend.filterbank import FRAME_SECONDS, SAMPLE_RATE, SHIFT_SECONDS, check_waveforms
from fastast.kernels import filterbank as kernel

Clips = Tensor | Sequence[Tensor | NDArray[np.generic]]
"""Waveforms (b, s), or a list of clips of any lengths."""


def input_samples(num_frames: int) -> int:
    """Return the number of samples at 16 kHz in `num_frames` frames: 164,080, or 10.255 s, for AudioSet's 1,024."""
    return int(SAMPLE_RATE * FRAME_SECONDS) + (num_frames - 1) * int(SAMPLE_RATE * SHIFT_SECONDS)


def check_frontend(frontend: Any, ours: tuple[int, int]) -> None:
    """Raise ValueError unless `frontend` is a `fastast.Frontend` that makes the frames and mel bins of `ours`."""
    if type(frontend) is not Frontend:  # another class may compute anything
        raise ValueError(
            f"compile: frontend is a {type(frontend).__name__}; give "
            "fastast.Frontend(model.geometry, model.normalisation), or omit it and call the engine with filterbanks"
        )
    theirs = (frontend.num_frames, frontend.num_mel_bins)
    if theirs != ours:
        raise ValueError(
            f"compile: the front end makes {theirs[0]} frames of {theirs[1]} mel bins, the model takes {ours[0]} of "
            f"{ours[1]}; make it with fastast.Frontend(model.geometry, ...)"
        )


class KernelWaveforms:
    """Waveforms whose filterbank is computed in Triton."""

    what = "from waveforms"

    def __init__(self, frontend: Frontend, dtype: torch.dtype, device: torch.device) -> None:
        self.names = {"filterbank": "triton"}
        self._frontend, self._dtype, self._device = frontend, dtype, device
        self._samples = input_samples(frontend.num_frames)
        # Captured graphs hold their addresses, so they must outlive the cache that they come from.
        self._constants = kernel._constants(frontend.num_mel_bins, SAMPLE_RATE, device)

    def read(self, given: Clips) -> tuple[Tensor, ...]:
        """Return waveforms (b, s) and the number of valid samples of each (b,), both cut to what the model sees."""
        waveforms, lengths = one_batch(given)
        check_waveforms(waveforms, lengths, values=self._frontend.check)
        _refuse_empty(len(waveforms))
        waveforms = waveforms[:, : self._samples]
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1], device=self._device)
        return waveforms, lengths.clamp(max=self._samples)

    def fbank(self, *read: Tensor) -> Tensor:
        """Return the filterbank (b, f, m) of waveforms (b, s) and their valid samples (b,)."""
        waveforms, lengths = read
        features = kernel.filterbank(
            waveforms.to(self._device, torch.float32),
            self._frontend.normalisation,
            self._frontend.num_frames,
            num_mel_bins=self._frontend.num_mel_bins,
            sample_rate=SAMPLE_RATE,
            lengths=lengths.to(self._device),
        )
        return features.to(self._dtype)

    def buffers(self, batch_size: int) -> tuple[Tensor, ...]:
        """Return silence (b, s) that fills the model's input, and its lengths (b,)."""
        silence = torch.zeros(batch_size, self._samples, dtype=torch.float32, device=self._device)
        return silence, torch.full((batch_size,), self._samples, device=self._device)


class PlainWaveforms:
    """Waveforms whose filterbank the front end itself computes."""

    what = "from waveforms"

    def __init__(self, frontend: Frontend, dtype: torch.dtype, device: torch.device) -> None:
        self.names = {"filterbank": "torch"}
        self._frontend, self._dtype, self._device = frontend, dtype, device

    def read(self, given: Clips) -> tuple[Tensor, ...]:
        """Return the filterbank (b, f, m) in float32."""
        if isinstance(given, Tensor):
            _refuse_empty(len(given))
            given = given.to(self._device)
        features: Tensor = self._frontend(given)
        return (features,)

    def fbank(self, *read: Tensor) -> Tensor:
        """Move a filterbank (b, f, m) to the engine's device and round it to its dtype."""
        return read[0].to(self._device, self._dtype)

    def buffers(self, batch_size: int) -> tuple[Tensor, ...]:
        """Raise RuntimeError, as the plain-torch path is never captured."""
        raise RuntimeError("the plain front end is not captured")


def _refuse_empty(batch_size: int) -> None:
    if batch_size == 0:
        raise ValueError("engine: no clips; give a batch of at least 1")
