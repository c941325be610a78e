"""What can be heard and seen on the page: sounds, their filterbanks, and how every method merges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.page.merges import METHODS, REMOVED, SHOWN, merge_histories, unmerged_labels
from bench.page.sounds import as_wav, colour_map, draw_sound, example_sounds, shape_of, sound_credits

MODEL = "ast_tiny_soundscapes"
"""The model that hears them: the one of the published results."""


def listening(*, methods: Sequence[str] = METHODS, removed: Sequence[int] = REMOVED) -> dict[str, Any]:
    """Return every example sound with its filterbank and the histories of its merges, as plain values.

    The model runs in double precision, so that a machine's rounding does not decide which tokens merge.
    """
    import torch

    from fastast.data.audio import load_audio
    from fastast.engine.waveforms import input_samples
    from fastast.frontend import Frontend
    from fastast.zoo import create_model

    model = create_model(MODEL).eval()
    frontend = Frontend(model.geometry, model.normalisation)
    model.double()
    sounds, length = [], input_samples(model.geometry.num_frames)
    for name, content in example_sounds():
        samples = load_audio(content, name=name)[:length]  # (s,)
        fbank = frontend(torch.from_numpy(samples)[None])  # (1, f, m)
        sounds.append(
            {
                "name": name.rpartition(".")[0].replace("_", " "),
                "wav": as_wav(samples),
                "padded": len(samples) < length,
                **draw_sound(fbank[0].numpy(), model.geometry),
                "heard": unmerged_labels(model, fbank.double()),
                "methods": merge_histories(model, fbank.double(), methods=methods, removed=removed),
            }
        )
    return {
        "model": MODEL,
        "shape": shape_of(model.geometry),
        "colours": colour_map(),
        "removed": list(removed),
        "shown": [name for name in SHOWN if name in methods],
        "credits": sound_credits(),
        "sounds": sounds,
    }
