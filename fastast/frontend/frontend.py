"""Turn clips into the input of an AST: the filterbank of `fastast.frontend.filterbank`, cut or padded, and normalised.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fastast.frontend.filterbank import FRAME_SECONDS, SHIFT_SECONDS, fbank


class TakesClips(Protocol):
    """Anything that states the size of its input, such as a `Geometry`."""

    @property
    def num_frames(self) -> int:
        """Number of frames, f."""
        ...

    @property
    def num_mel_bins(self) -> int:
        """Number of mel bins, m."""
        ...


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Normalisation of a log-mel filterbank before an AST sees it: (x - mean) / (2 * std)."""

    mean: float
    """Mean of the training set's filterbank."""
    std: float
    """Standard deviation of the training set's filterbank; AST divides by twice as much."""

    def __post_init__(self) -> None:
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"normalisation: {name} is {value!r}; it must be a finite number")
        if self.std <= 0:
            raise ValueError(f"normalisation: std is {self.std!r}; it must be more than 0")

    def __call__(self, features: Tensor) -> Tensor:
        """Normalise a filterbank of any shape."""
        return (features - self.mean) / (2 * self.std)

    def undo(self, features: Tensor) -> Tensor:
        """Return a normalised filterbank as it was before."""
        return features * (2 * self.std) + self.mean


AUDIOSET = Normalisation(mean=-4.2677393, std=4.5689974)
"""Normalisation of AST's AudioSet recipes (Gong et al. 2021), and the default of Hugging Face Transformers."""
ESC50 = Normalisation(mean=-6.6268077, std=5.358466)
"""Normalisation of AST's ESC-50 recipe."""
SPEECH_COMMANDS = Normalisation(mean=-6.845978, std=5.5654526)
"""Normalisation of AST's Speech Commands V2 recipe."""


def pad_or_cut(features: Tensor, num_frames: int) -> Tensor:
    """Pad a filterbank (b, f, m) with zeros at the end, or cut its end off, and return (b, num_frames, m).

    AST pads before it normalises, so the model sees padding as -mean / (2 * std), not as 0.
    """
    missing = num_frames - features.shape[1]
    return F.pad(features, (0, 0, 0, missing)) if missing > 0 else features[:, :num_frames]


class Frontend(nn.Module):
    """Turns waveforms into the normalised filterbank that a model takes, without weights, on the input's device."""

    def __init__(self, geometry: TakesClips, normalisation: Normalisation | None, *, check: bool = True) -> None:
        """`check`: as in `fbank`. Raises ValueError where `normalisation` is None, as for original AST checkpoints."""
        super().__init__()
        if normalisation is None:
            raise ValueError(
                "front end: no normalisation (mean and std of the training set's filterbank) is known for this model; "
                "load it with normalisation=, for example fastast.frontend.AUDIOSET"
            )
        self.num_frames = geometry.num_frames
        self.num_mel_bins = geometry.num_mel_bins
        self.normalisation = normalisation
        self.check = check

    @property
    def seconds(self) -> float:
        """Longest part of a clip that the model hears, in seconds."""
        return FRAME_SECONDS + (self.num_frames - 1) * SHIFT_SECONDS

    def extra_repr(self) -> str:
        """Return the settings for `print`."""
        return f"num_frames={self.num_frames}, num_mel_bins={self.num_mel_bins}, {self.normalisation}"

    def forward(self, waveforms: Tensor | Sequence[Tensor | NDArray[np.generic]]) -> Tensor:
        """Turn (b, samples) at 16 kHz, or a list of clips of any lengths, into (b, num_frames, num_mel_bins).

        Samples are floating point in [-1, 1], or int16. Raises ValueError as `one_batch` and `fbank` do.
        """
        waveforms, lengths = one_batch(waveforms)
        features = fbank(waveforms, num_mel_bins=self.num_mel_bins, lengths=lengths, check=self.check)  # (b, f, m)
        return self.normalisation(pad_or_cut(features, self.num_frames))


def one_batch(clips: Tensor | Sequence[Tensor | NDArray[np.generic]]) -> tuple[Tensor, Tensor | None]:
    """Return what `Frontend` takes as waveforms (b, samples), and the lengths (b,) of clips in a list, else None.

    int16 becomes float32 in [-1, 1]. Raises ValueError for an empty list, and for clips in a list that are of different
    types or not one-dimensional.
    """
    waveforms, lengths = (clips, None) if isinstance(clips, Tensor) else _stack(clips)
    if waveforms.dtype == torch.int16:
        waveforms = waveforms.to(torch.float32) / 32768
    return waveforms, lengths


def _stack(clips: Sequence[Tensor | NDArray[np.generic]]) -> tuple[Tensor, Tensor]:
    """Return clips padded to (b, samples), and their lengths (b,)."""
    tensors = [torch.as_tensor(clip) for clip in clips]
    if not tensors:
        raise ValueError("front end: an empty list of clips; give at least one")
    for index, clip in enumerate(tensors):
        if clip.ndim != 1 or clip.dtype != tensors[0].dtype:
            raise ValueError(
                f"front end: clip {index} of the list is {clip.dtype} of shape {tuple(clip.shape)}; every clip must be "
                f"one channel, (samples,), and of the same type as the first ({tensors[0].dtype})"
            )
    lengths = torch.tensor([len(clip) for clip in tensors], device=tensors[0].device)
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths
