"""What is raised for an audio file that cannot be used; `fault` sorts them for reports."""

from __future__ import annotations


class AudioError(ValueError):
    """An audio file that cannot be used; the message names it and says what to do."""

    fault = "unreadable"


class AudioNotFoundError(AudioError, FileNotFoundError):
    """An audio file that is not there."""

    fault = "missing"


class AudioScaleError(AudioError):
    """Samples that are not in [-1, 1] but, say, on the scale of integers."""

    fault = "wrong scale"


class AudioValueError(AudioError):
    """Samples that are NaN or infinite."""

    fault = "not a number"


class AudioTooLongError(AudioError):
    """A file that is too long for a clip."""

    fault = "too long"
