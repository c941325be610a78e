"""Sound that comes only once: a pipe, or a microphone.

Shapes: `s` samples of a block, `k` channels.
"""

from __future__ import annotations

import select
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastast.data.audio import AudioReader, AudioWarning
from fastast.data.decoding.errors import AudioError
from fastast.data.decoding.part import Part
from fastast.data.decoding.pcm import PcmStream
from fastast.data.decoding.wav_end import is_chunk, is_known_chunk, told_too_little
from fastast.data.decoding.wav_stream import HEAD_BYTES, exactly, is_wav, read_wav_header
from fastast.inference.feed import Feed
from fastast.names import counted

BLOCK_SECONDS = 0.1
"""Of the blocks of a microphone, and of a pipe that is heard while it comes; longer than any of them takes to pass."""
_LONG_BLOCK_SECONDS = 4.0
"""Of the blocks of a pipe whose end is waited for."""
_WAITING = 100
"""Blocks of a pipe that are read ahead at most: then the pipe is left to fill, and who writes to it waits."""

_BEHIND = 9
"""Bytes behind the samples of a WAV that tell a chunk from more samples."""
_MOMENT = 0.5
"""Seconds that they are waited for."""


class ByteStream(Protocol):
    """What bytes come from, such as `sys.stdin.buffer.raw`."""

    def read(self, size: int, /) -> bytes | None:
        """Return what there is, at most so many bytes, and none at the end; None where there is nothing yet."""

    def fileno(self) -> int:
        """Return what the system knows it by."""


class LiveReader(AudioReader):
    """Sound that comes once, in real time or faster, as one channel at one rate, block by block."""

    feed: Feed | None = None
    """Where it waits and when it came; None before it is iterated, and where nobody asked."""


class PipeReader(LiveReader):
    """The sound in a stream of bytes: a WAV of any or of unknown length, or samples without a header."""

    def __init__(
        self,
        stream: ByteStream,
        raw: PcmStream | None = None,
        *,
        name: str = "-",
        live: bool = False,
        sample_rate: int | None = 16_000,
        channels: str = "average",
    ) -> None:
        """`raw`: what samples without a header are. `live`: hear short blocks as soon as they come, and note when.

        `sample_rate` and `channels` as for `AudioReader`.
        """
        super().__init__(name, name=name, sample_rate=sample_rate, channels=channels)
        self._stream, self._raw, self._live = stream, raw, live
        self._fault = ""
        self._ahead = b""
        """What was looked at and not read yet."""

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks (s,), float32, as an `AudioReader` does. A stream that stalls is waited for.

        Warns with AudioWarning, after all blocks, where the stream ended in the middle of a sample, or before the
        length that its header tells, or went on behind it. Raises AudioError as an `AudioReader` does, and where the
        header cannot be used.
        """
        yield from super().__iter__()
        if self._fault:
            warnings.warn(f"{self.name}: {self._fault}", AudioWarning, stacklevel=2)

    @contextmanager
    def _open(self) -> Iterator[Iterator[Part]]:
        if self._raw is not None and is_wav(self._look(HEAD_BYTES)):
            raise AudioError(
                f"{self.name}: begins with the header of a WAV, and --rate says that there is none; leave --rate, "
                "--format and --channels out"
            )
        found = self._raw or read_wav_header(self._read, self.name)
        blocks = self._blocks(found)
        if self._live:
            self.feed = Feed.of(blocks, found.rate, limit=_WAITING)
            blocks = iter(self.feed)
        codec = f"{'WAV' if self._raw is None else 'samples'} {found.encoding} through a pipe"
        yield iter([Part(rate=found.rate, channels=found.channels, codec=codec, blocks=blocks)])

    def _blocks(self, found: PcmStream) -> Iterator[NDArray[np.float32]]:
        """Yield what comes, (s, k), and note what is wrong with its end."""
        size = found.frame_bytes
        most = size * max(1, round(found.rate * (BLOCK_SECONDS if self._live else _LONG_BLOCK_SECONDS)))
        if self._raw is None and found.num_bytes is None and is_known_chunk(self._look(4)):
            return
        begun, came = b"", 0  # the bytes of a sample that is not whole yet
        while wanted := most if found.num_bytes is None else min(most, found.num_bytes - came):
            content = self._read(wanted)
            if not content:
                break
            came += len(content)
            content = begun + content
            whole = len(content) - len(content) % size
            begun = content[whole:]
            if whole:
                yield found.decode(content[:whole])
        faults = []
        if found.num_bytes is not None and came < found.num_bytes:
            told, seconds = (count / size / found.rate for count in (found.num_bytes, came))
            faults.append(f"it ended after {seconds:.2f} s, and its header tells of {told:.2f} s")
        if begun:
            faults.append(f"it ended in the middle of a sample ({counted(len(begun), 'byte')} left out)")
        if came == found.num_bytes and not self._live and not is_chunk(self._behind()):
            self._fault = told_too_little("bytes came")
        if faults:
            self._fault = f"the stream is cut off: {'; '.join(faults)}. What came before was heard"

    def _behind(self) -> bytes:
        """Return the first bytes behind the samples that come at once: an end that stays open is not waited for."""
        found = b""
        while len(found) < _BEHIND and (self._ahead or self._comes()) and (more := self._read(_BEHIND - len(found))):
            found += more
        return found

    def _comes(self) -> bool:
        """Return whether something comes within a moment, its end included; True where nothing tells."""
        try:
            return bool(select.select([self._stream], [], [], _MOMENT)[0])
        except (OSError, TypeError, ValueError):  # not a file of the system
            return True

    def _look(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end only, and leave them to be read."""
        self._ahead = exactly(self._read, size)
        return self._ahead

    def _read(self, size: int) -> bytes:
        ahead, self._ahead = self._ahead[:size], self._ahead[size:]
        try:
            while (content := self._stream.read(size - len(ahead)) if len(ahead) < size else b"") is None:
                select.select([self._stream], [], [])  # a pipe that does not block has nothing yet
            return ahead + content
        except OSError as error:
            raise AudioError(f"{self.name}: cannot be read: {error.strerror or error}") from error


class Microphone(LiveReader):
    """What a microphone hears, through the library sounddevice: `pip install 'fastast[microphone]'`."""

    def __init__(self, device: str = "", *, sample_rate: int | None = 16_000) -> None:
        """`device`: part of the name of an input, or its number; the system's own where not given.

        Raises AudioError where the library or the device is missing.
        """
        self._library = _sounddevice()
        wanted = int(device) if device.isdecimal() else device or None
        try:
            self.device: dict[str, Any] = self._library.query_devices(wanted, "input")
        except (ValueError, self._library.PortAudioError) as error:
            raise AudioError(f"microphone: {device or 'none'}: {error}. {_inputs(self._library)}") from error
        self._wanted = wanted
        self.lost = 0
        """Blocks before which the system lost sound."""
        super().__init__("microphone", name=f"microphone {self.device['name']}", sample_rate=sample_rate)

    @contextmanager
    def _open(self) -> Iterator[Iterator[Part]]:
        rate = round(self.device["default_samplerate"])
        self.feed = feed = Feed(rate)

        def hear(block: NDArray[np.float32], frames: int, when: Any, status: Any) -> None:
            self.lost += bool(status.input_overflow)
            feed.put(block.copy())

        try:
            stream = self._library.InputStream(
                device=self._wanted,
                samplerate=rate,
                channels=1,
                dtype="float32",
                blocksize=round(rate * BLOCK_SECONDS),
                callback=hear,
                finished_callback=lambda: feed.end(AudioError(f"{self.name}: the device stopped; is it still there?")),
            )
            with stream:
                yield iter([Part(rate=rate, channels=1, codec="microphone", blocks=iter(feed))])
        except self._library.PortAudioError as error:
            raise AudioError(f"{self.name}: {error}. {_inputs(self._library)}") from error


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise AudioError(
            "microphone: it is heard through the library sounddevice; install it: pip install 'fastast[microphone]', "
            "or pipe sound in: arecord -f S16_LE -r 16000 | fastast listen -"
        ) from error
    except OSError as error:  # the library's wheel for Linux does not hold PortAudio
        raise AudioError(f"microphone: {error}; install it: apt install libportaudio2") from error
    return sounddevice


def _inputs(library: Any) -> str:
    """Return the inputs that there are, as a sentence."""
    found = [
        f"{number} ({device['name']})"
        for number, device in enumerate(library.query_devices())
        if device["max_input_channels"]
    ]
    return f"Inputs here: {', '.join(found) or 'none'}; or pipe sound in: fastast listen -"
