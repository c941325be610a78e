"""Errors for audio files that cannot be used; `fault` is the category that reports sort them by."""

from __future__ import annotations


class AudioError(ValueError):
    """An audio file that cannot be used; the message names it and says what to do."""

    fault = "unreadable"


class AudioNotFoundError(AudioError, FileNotFoundError):
    """An audio file that does not exist."""

    fault = "missing"


class AudioScaleError(AudioError):
    """Samples far outside [-1, 1], such as integers stored as floating point."""

    fault = "wrong scale"


class AudioValueError(AudioError):
    """Samples that are NaN or infinite."""

    fault = "not a number"


class AudioTooLongError(AudioError):
    """A file that is longer than a clip may be."""

    fault = "too long"
