"""Read an audio file as one channel of float32 samples at a known rate.

Shapes: `s` samples, `k` channels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastast.data.decoding.errors import (
    AudioError,
    AudioNotFoundError,
    AudioScaleError,
    AudioTooLongError,
    AudioValueError,
)
from fastast.names import unknown_name
from fastast.scale import MAX_PEAK, describe_peak

if TYPE_CHECKING:
    from fastast.data.decoding.part import Part

__all__ = ["AudioError", "AudioFacts", "AudioNotFoundError", "AudioReader", "AudioWarning", "load_audio"]

RESAMPLER = "soxr HQ"
"""Resampler, named in records because another one changes log-mel features by up to 1e-2."""
CHANNELS = ("average", "first")
"""Ways to turn several channels into one: average them, or take the first alone, as AST's own code does."""
FULL_SCALE = 0.999
"""Absolute value from which a sample counts as clipped."""
_CANCELS = 0.01
"""Share of the channels' energy (20 dB down) below which averaging counts as having cancelled them out."""


class AudioWarning(UserWarning):
    """An audio file that can be used, but may not be what it seems."""


@dataclass(kw_only=True)
class AudioFacts:
    """Facts collected while a file is read."""

    rates: tuple[int, ...] = ()
    """Sample rate (Hz) of every part; all but joined files have one part."""
    channels: int = 0
    """Largest number of channels of any part."""
    codec: str = ""
    """Container and codec of the first part."""
    seconds: float = 0.0
    """Length of the decoded audio in seconds."""
    samples: int = 0
    """Number of samples decoded per channel."""
    peak: float = 0.0
    """Largest absolute sample of any channel."""
    clipped: float = 0.0
    """Number of samples at full scale, averaged over channels."""
    channel_energy: float = 0.0
    """Sum of squares of the samples, averaged over the channels that are used."""
    energy: float = 0.0
    """Sum of squares of the single channel that results."""
    integral: bool = True
    """Whether every sample is a whole number."""
    unheard: str = ""
    """Warning about bytes that were not read but may be audio; empty where there are none."""

    @property
    def rms(self) -> float:
        """Root mean square of the single channel that results."""
        return math.sqrt(self.energy / self.samples) if self.samples else 0.0

    @property
    def clipped_share(self) -> float:
        """Share of the samples that are at full scale."""
        return self.clipped / self.samples if self.samples else 0.0

    @property
    def cancels(self) -> bool:
        """Whether averaging the channels cancelled them out."""
        return self.energy < _CANCELS * self.channel_energy


class AudioReader:
    """The samples of one file as one channel at one rate, block by block in bounded memory."""

    def __init__(
        self,
        where: str | Path | bytes,
        *,
        name: str = "",
        sample_rate: int | None = 16_000,
        channels: str = "average",
        max_seconds: float | None = None,
    ) -> None:
        """`where`: a path, or the bytes of an encoded file, which error messages call `name`.

        `sample_rate`: in Hz, or None for the file's own. `channels`: `average`, or `first` as in AST's own code. A file
        longer than `max_seconds` is refused.
        """
        if channels not in CHANNELS:
            raise ValueError(unknown_name("rule for channels", channels, CHANNELS))
        self._where, self._name = where, name
        self.sample_rate = sample_rate
        self.channels = channels
        self.max_seconds = max_seconds
        self.facts = AudioFacts()
        """Facts collected so far."""

    @property
    def name(self) -> str:
        """Name of the file in error messages."""
        return self._name or ("sound in memory" if isinstance(self._where, bytes) else str(self._where))

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks (s,), float32, nominally in [-1, 1].

        Raises AudioError for a path that does not exist or is not a file, and for a file that is empty, cut off, of
        another format or longer than `max_seconds`, or that holds NaN or samples on another scale. Some of this shows
        only at the end, after all blocks.
        """
        self.facts = AudioFacts()
        with self._open() as parts:
            for part in parts:
                self.facts.rates += (part.rate,)
                self.facts.channels = max(self.facts.channels, part.channels)
                self.facts.codec = self.facts.codec or part.codec
                self.facts.unheard = self.facts.unheard or part.unheard
                yield from self._resampled(self._mono(part.blocks, part.rate), part.rate)
            if self.facts.integral and self.facts.peak >= 2:
                raise self._other_scale()

    @contextmanager
    def _open(self) -> Iterator[Iterator[Part]]:
        """Open the file, and give an iterator over its parts, in order, while it is open."""
        from fastast.data.decoding import open_parts, open_source

        with open_source(self._where, self._name) as source:
            yield open_parts(source)

    def _mono(self, blocks: Iterator[NDArray[np.float32]], rate: int) -> Iterator[NDArray[np.float32]]:
        """Check blocks (s, k), note facts about them, and yield one channel, (s,)."""
        facts, name = self.facts, self.name
        for block in blocks:
            peak = float(max(block.max(), -block.min()))
            if not math.isfinite(peak):
                raise AudioValueError(f"{name}: holds NaN or infinite samples; repair the file or leave it out")
            facts.peak = max(facts.peak, peak)
            if peak > MAX_PEAK:
                raise self._other_scale()
            facts.samples += len(block)
            facts.seconds += len(block) / rate
            if self.max_seconds is not None and facts.seconds > self.max_seconds:
                raise AudioTooLongError(
                    f"{name}: longer than {self.max_seconds:g} s; cut it into clips, or leave it out"
                )
            facts.integral = facts.integral and (peak == 0 or (peak >= 1 and bool((block == np.rint(block)).all())))
            if peak >= FULL_SCALE:
                facts.clipped += int((np.abs(block) >= FULL_SCALE).sum()) / block.shape[1]
            mono = block[:, 0] if self.channels == "first" else block.mean(axis=1, dtype=np.float32)  # (s,)
            mono = np.ascontiguousarray(mono, np.float32)
            energy = float(np.dot(mono, mono))
            facts.energy += energy
            alone = block.shape[1] == 1 or self.channels == "first"
            facts.channel_energy += energy if alone else float(np.vdot(block, block)) / block.shape[1]
            yield mono

    def _resampled(self, blocks: Iterator[NDArray[np.float32]], rate: int) -> Iterator[NDArray[np.float32]]:
        """Resample blocks to the reader's rate; the samples do not depend on how the stream is cut into blocks."""
        if self.sample_rate in (None, rate):
            yield from blocks
            return
        import soxr

        stream = soxr.ResampleStream(rate, self.sample_rate, 1, dtype="float32", quality="HQ")
        for block in blocks:
            yield stream.resample_chunk(block)  # (s * sample_rate / rate,)
        yield stream.resample_chunk(np.empty(0, np.float32), last=True)

    def check_heard(self, samples: int) -> None:
        """Raise AudioError where the file, once read to its end, gave no samples.

        Warns where averaging cancels the channels out, and where bytes that may be audio were not read.
        """
        name, facts = self.name, self.facts
        if not facts.samples:
            raise AudioError(f"{name}: a {facts.codec or 'sound'} file without a single sample; leave it out")
        if not samples:
            raise AudioError(
                f"{name}: {facts.samples} samples at {facts.rates[0]} Hz resample to none at {self.sample_rate} Hz; "
                "leave it out"
            )
        if facts.unheard:
            warnings.warn(f"{name}: {facts.unheard}", AudioWarning, stacklevel=3)
        if facts.cancels:
            text = f"{name}: averaging its {facts.channels} channels cancels them out; take the first: "
            text += "channels='first', or --mix first on the command line"
            warnings.warn(text, AudioWarning, stacklevel=3)

    def warn_of_silence(self) -> None:
        """Warn where every sample of the file, once read to its end, is 0."""
        if self.facts.peak == 0:
            warnings.warn(f"{self.name}: silent: every sample is 0", AudioWarning, stacklevel=3)

    def _other_scale(self) -> AudioScaleError:
        return AudioScaleError(f"{self.name}: {describe_peak(self.facts.peak)}, or leave the file out")


def load_audio(
    path: str | Path | bytes,
    *,
    sample_rate: int = 16_000,
    channels: str = "average",
    max_seconds: float | None = None,
    name: str = "",
) -> NDArray[np.float32]:
    """Decode a file to one channel, (s,), float32, nominally in [-1, 1], resampled to `sample_rate` (Hz).

    Reads wav, flac, ogg, opus and mp3 whatever the file is called, and m4a, webm and more where PyAV is installed
    (`pip install 'fastast[media]'`). Channels are averaged, or with `channels="first"` the first one is taken, as in
    AST's own code. `path` may be the bytes of an encoded file, which error messages call `name`.

    Raises AudioError for a path that does not exist or is a folder, and for a file that is empty, cut off, of another
    format or longer than `max_seconds`, or that holds no samples, NaN or samples on the scale of integers. A cut
    exactly between two Ogg pages, or in an MP3 whose header does not count its frames, cannot be detected: whatever is
    left is returned. Warns with AudioWarning where averaging cancels the channels out, and where a WAV continues after
    the end that its header states.
    """
    reader = AudioReader(path, name=name, sample_rate=sample_rate, channels=channels, max_seconds=max_seconds)
    blocks = list(reader)
    samples = np.concatenate(blocks) if blocks else np.empty(0, np.float32)  # (s,)
    reader.check_heard(len(samples))
    return samples
