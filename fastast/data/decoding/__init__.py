"""Decode audio files of every supported kind into blocks of samples, in bounded memory."""

from fastast.data.decoding.errors import AudioError, AudioNotFoundError
from fastast.data.decoding.part import Part
from fastast.data.decoding.parts import open_parts
from fastast.data.decoding.source import Source, open_source

__all__ = ["AudioError", "AudioNotFoundError", "Part", "Source", "open_parts", "open_source"]
