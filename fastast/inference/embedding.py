"""Turn audio files into vectors, one per file or per window: the input of an AST's head.

Shapes: `s` samples of a window, `w` windows of a batch, `n` tokens that are left, `d` width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fastast.inference.hearing import SoundSource, Unread, hear
from fastast.inference.predictor import Predictor
from fastast.inference.time_mean import TimeMean
from fastast.inference.windows import hop_samples


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A file, or a section of it, as a vector."""

    path: Path
    """The file."""
    start: float
    """Start of the section, in seconds from the beginning of the file."""
    end: float
    """End of the section, in seconds from the beginning of the file."""
    vector: NDArray[np.float32]
    """The vector (d,)."""


class _Vectors:
    """Collects the vectors of one file's windows: each of them, or their mean over time."""

    def __init__(self, path: Path, *, windows: bool) -> None:
        self._path, self._windows = path, windows
        self._found: list[Embedding] = []
        self._mean = TimeMean()

    def add(self, start: float, end: float, vector: NDArray[np.floating]) -> None:
        """Add the next window, from `start` to `end` seconds, with its vector (d,)."""
        if self._windows:
            self._found.append(Embedding(path=self._path, start=start, end=end, vector=vector.astype(np.float32)))
        else:
            self._mean.add(start, end, vector)

    def result(self, seconds: float) -> tuple[Embedding, ...]:
        """Return the vectors of the file, whose length is `seconds`."""
        if self._windows:
            return tuple(self._found)
        mean = self._mean.mean().astype(np.float32)
        return (Embedding(path=self._path, start=0.0, end=seconds, vector=mean),)


def embed_files(
    predictor: Predictor,
    sources: Iterable[SoundSource],
    *,
    windows: bool = False,
    hop: float | None = None,
    device: torch.device | str = "cpu",
    channels: str = "average",
) -> Iterator[tuple[Embedding, ...] | Unread]:
    """Yield the vectors of each file in order, or the reason why it could not be read.

    A vector (d,) is what the head reads: the mean of the class and distillation tokens after the final norm, with the
    model's reduction applied. Each file has one vector, the mean over time of its windows' vectors, or with `windows`
    one per window. `hop` and `channels` as for `Predictor.predict`; the model runs in plain PyTorch on `device`.

    Raises ValueError for an exported file or a CNN, which give logits only, and for a hop that is longer than a window.
    """
    predictor.at_length(predictor.shape.num_frames)

    def score(clips: Sequence[NDArray[np.float32]], frames: int) -> NDArray[np.float32]:
        model, frontend = predictor.at_length(frames)
        model.to(device)
        with torch.inference_mode():
            fbank = frontend([torch.from_numpy(clip) for clip in clips])
            tokens = model.forward_features(fbank.to(device))  # (w, n, d)
            return ((tokens[:, 0] + tokens[:, 1]) / 2).float().cpu().numpy()  # (w, d)

    return hear(
        sources,
        lambda path: _Vectors(path, windows=windows),
        score,
        samples=predictor.window_samples,
        batch_size=predictor.batch_size,
        hop=None if hop is None else hop_samples(hop, predictor.window_samples),
        kind=predictor.frames,
        channels=channels,
    )
