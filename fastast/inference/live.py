"""Sound that can be read only once: from a pipe or a microphone.

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
"""Length of a block from a microphone or a live pipe; longer than handing a block over takes."""
_LONG_BLOCK_SECONDS = 4.0
"""Length of a block from a pipe that is not live."""
_WAITING = 100
"""Maximum number of blocks to read ahead from a live pipe: after that the pipe fills up, and its writer waits."""

_BEHIND = 9
"""Number of bytes after the samples of a WAV that distinguish a chunk from more samples."""
_MOMENT = 0.5
"""Seconds to wait for those bytes."""


class ByteStream(Protocol):
    """A source of bytes, such as `sys.stdin.buffer.raw`."""

    def read(self, size: int, /) -> bytes | None:
        """Return the bytes available, at most `size`; empty at the end, None if nothing is there yet."""

    def fileno(self) -> int:
        """Return the file descriptor."""


class LiveReader(AudioReader):
    """Sound that can be read once, in real time or faster, as one channel at one rate, block by block."""

    feed: Feed | None = None
    """Queue of the blocks with their arrival times; None before iteration, and for a pipe that is not live."""


class PipeReader(LiveReader):
    """The sound in a stream of bytes: a WAV of known or unknown length, or samples without a header."""

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
        """`raw`: the format of samples without a header. `live`: read short blocks as they arrive, and note when.

        `sample_rate` and `channels` as for `AudioReader`.
        """
        super().__init__(name, name=name, sample_rate=sample_rate, channels=channels)
        self._stream, self._raw, self._live = stream, raw, live
        self._fault = ""
        self._ahead = b""
        """Bytes that were looked at but not read yet."""

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks (s,), float32, as an `AudioReader` does, waiting for a stream that stalls.

        Warns with AudioWarning, after all blocks, if the stream ended in the middle of a sample or before the length
        given in its header, or continued beyond it. Raises AudioError as an `AudioReader` does, and if the header
        cannot be used.
        """
        yield from super().__iter__()
        if self._fault:
            warnings.warn(f"{self.name}: {self._fault}", AudioWarning, stacklevel=2)

    @contextmanager
    def _open(self) -> Iterator[Iterator[Part]]:
        if self._raw is not None and is_wav(self._look(HEAD_BYTES)):
            raise AudioError(
                f"{self.name}: begins with the header of a WAV, although --rate says that there is none; leave out "
                "--rate, --format and --channels"
            )
        found = self._raw or read_wav_header(self._read, self.name)
        blocks = self._blocks(found)
        if self._live:
            self.feed = Feed.of(blocks, found.rate, limit=_WAITING)
            blocks = iter(self.feed)
        codec = f"{'WAV' if self._raw is None else 'samples'} {found.encoding} through a pipe"
        yield iter([Part(rate=found.rate, channels=found.channels, codec=codec, blocks=blocks)])

    def _blocks(self, found: PcmStream) -> Iterator[NDArray[np.float32]]:
        """Yield the blocks (s, k) as they arrive, and note what is wrong with the stream's end."""
        size = found.frame_bytes
        most = size * max(1, round(found.rate * (BLOCK_SECONDS if self._live else _LONG_BLOCK_SECONDS)))
        if self._raw is None and found.num_bytes is None and is_known_chunk(self._look(4)):
            return
        begun, came = b"", 0  # the bytes of an incomplete sample, and the number of bytes so far
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
            faults.append(f"it ended after {seconds:.2f} s, but its header says {told:.2f} s")
        if begun:
            faults.append(f"it ended in the middle of a sample ({counted(len(begun), 'byte')} left out)")
        if came == found.num_bytes and not self._live and not is_chunk(self._behind()):
            self._fault = told_too_little("bytes came")
        if faults:
            self._fault = f"the stream is cut off: {'; '.join(faults)}. What came before that was used"

    def _behind(self) -> bytes:
        """Return the first bytes after the samples that come promptly, without waiting for a stream that stays open."""
        found = b""
        while len(found) < _BEHIND and (self._ahead or self._comes()) and (more := self._read(_BEHIND - len(found))):
            found += more
        return found

    def _comes(self) -> bool:
        """Return whether bytes or the end of the stream come within a moment; True if that cannot be told."""
        try:
            return bool(select.select([self._stream], [], [], _MOMENT)[0])
        except (OSError, TypeError, ValueError):  # not a file of the operating system
            return True

    def _look(self, size: int) -> bytes:
        """Return the next `size` bytes, or fewer at the end, and leave them to be read again."""
        self._ahead = exactly(self._read, size)
        return self._ahead

    def _read(self, size: int) -> bytes:
        ahead, self._ahead = self._ahead[:size], self._ahead[size:]
        try:
            while (content := self._stream.read(size - len(ahead)) if len(ahead) < size else b"") is None:
                select.select([self._stream], [], [])  # a non-blocking pipe that has nothing yet
            return ahead + content
        except OSError as error:
            raise AudioError(f"{self.name}: cannot be read: {error.strerror or error}") from error


class Microphone(LiveReader):
    """Sound from a microphone, through the library sounddevice: `pip install 'fastast[microphone]'`."""

    def __init__(self, device: str = "", *, sample_rate: int | None = 16_000) -> None:
        """`device`: the number of an input, or part of its name; by default the system's default input.

        Raises AudioError if the library or the device is missing.
        """
        self._library = _sounddevice()
        wanted = int(device) if device.isdecimal() else device or None
        try:
            self.device: dict[str, Any] = self._library.query_devices(wanted, "input")
        except (ValueError, self._library.PortAudioError) as error:
            raise AudioError(f"microphone: {device or 'none'}: {error}. {_inputs(self._library)}") from error
        self._wanted = wanted
        self.lost = 0
        """Number of blocks before which the system lost sound."""
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
            "microphone: this needs the library sounddevice; install it: pip install 'fastast[microphone]', "
            "or pipe sound in: arecord -f S16_LE -r 16000 | fastast listen -"
        ) from error
    except OSError as error:  # the library's wheel for Linux does not contain PortAudio
        raise AudioError(f"microphone: {error}; install it: apt install libportaudio2") from error
    return sounddevice


def _inputs(library: Any) -> str:
    """Return a sentence that lists the available inputs."""
    found = [
        f"{number} ({device['name']})"
        for number, device in enumerate(library.query_devices())
        if device["max_input_channels"]
    ]
    return f"Available inputs: {', '.join(found) or 'none'}; or pipe sound in: fastast listen -"
