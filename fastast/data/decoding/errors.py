"""What is raised for an audio file that cannot be used."""

from __future__ import annotations


class AudioError(ValueError):
    """An audio file that cannot be used; the message names it and says what to do."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """An audio file that is not there."""
