"""Observe methods on clips of the soundscapes and write what was seen to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import fastast
from bench.run.recording import describe_suite
from bench.understanding.observe import observe
from bench.understanding.picture import choose_picture, picture_of
from bench.understanding.record import VERSION, Understanding, write_understanding
from bench.understanding.sounding import scene_recipes, sounding
from fastast.checkpoints import load_checkpoint
from fastast.data.soundscapes import load
from fastast.names import unknown_name
from fastast.reduction import ReductionError, TokenReduction, method_names
from fastast.schedule import parse_schedule
from fastast.zoo import trained_path

SPLIT, SECONDS = "test", 5.0
REMOVES_NOTHING = ("slice",)
"""Methods that are left out, as they do not choose: an oracle of speed."""


def run_understanding(
    name: str,
    schedule: str,
    methods: tuple[str, ...],
    clips: int,
    folder: Path,
    *,
    say: Callable[[str], object] = print,
) -> Path:
    """Observe methods on the first test clips of the soundscapes; return the path of the file that was written.

    Raises ReductionError for an unknown method, and if a method cannot follow the schedule.
    """
    known = [one for one in method_names() if one not in REMOVES_NOTHING]
    for one in methods:
        if one not in known:
            raise ReductionError(f"--method {one}: {unknown_name('method', one, known)}")
    checkpoint = trained_path(name)
    model = fastast.load_model(checkpoint).eval().requires_grad_(False)
    assert model.normalisation is not None, "a model of the zoo says how its input is normalised"
    loaded = load(SPLIT, count=clips, seconds=SECONDS)
    frontend = fastast.Frontend(model.geometry, model.normalisation)
    waveforms = torch.from_numpy(loaded.waveforms.astype(np.float32) / 32768)  # (c, s)
    features = torch.cat([frontend(part) for part in waveforms.split(64)])  # (c, f, m)
    events = sounding(scene_recipes(SPLIT, SECONDS, range(clips)), model.geometry)  # (c, t')
    shown = choose_picture(events)
    notes, removed = [], parse_schedule(schedule)
    for one in methods or known:
        say(f"{one} {schedule}")
        notes.append(
            observe(model, TokenReduction(schedule=removed, method=one, excess="cap"), features, events, picture=shown)
        )
    found = Understanding(
        version=VERSION,
        model=name,
        weights_sha256=load_checkpoint(checkpoint).sha256,
        split=SPLIT,
        clips=clips,
        seconds=SECONDS,
        recipe_sha256=loaded.recipe_sha256,
        sounding=round(float(events.mean()), 4),
        torch=torch.__version__,
        suite=describe_suite(),
        picture=picture_of(loaded.ids[shown], features[shown].numpy(), events[shown], model.geometry),
        methods=tuple(notes),
    )
    path = folder / f"{name}.json"
    write_understanding(path, found)
    return path
