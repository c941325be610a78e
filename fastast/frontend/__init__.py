"""Turn waveforms into the input of an AST: Kaldi's filterbank, cut or padded, and normalised."""

from __future__ import annotations

from fastast.frontend.frontend import (
    AUDIOSET,
    ESC50,
    SPEECH_COMMANDS,
    Frontend,
    Normalisation,
    TakesClips,
    one_batch,
    pad_or_cut,
)

__all__ = [
    "AUDIOSET",
    "ESC50",
    "SPEECH_COMMANDS",
    "Frontend",
    "Normalisation",
    "TakesClips",
    "one_batch",
    "pad_or_cut",
]
