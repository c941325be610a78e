"""What was observed of methods, as a file: `results/understanding/<model>.json`."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from bench.measure.machine import Facts
from bench.records.schema import Suite
from bench.records.store import RecordError
from fastast.system.writing import write_whole

VERSION = 3


class BlockNotes(Facts):
    """What a method does in a block, over all clips."""

    pairs: int
    """Tokens that joined another one; 0 where the method drops, or the block removes nothing."""
    along_time: float | None
    """Share of them whose owner and theirs are of one frequency and of different times."""
    along_frequency: float | None
    """Share whose owners are of one time and of different frequencies."""
    neighbours: float | None
    """Share whose owners are at most one patch apart in both."""
    similarity: tuple[float, float, float] | None
    """Quartiles of the cosine of their keys."""
    gone_sounding: float | None
    """Of the patches at a time at which an event sounds, the share that has no token of its own after this block."""
    gone_silent: float | None
    """Of the other patches, the same."""
    silence_leads: tuple[float, float, float] | None
    """The latter less the former, between the ends of its 95 % interval over clips; None without silence or sound."""


class Picture(Facts):
    """A clip that methods are drawn on, as text that stays readable."""

    clip: str
    """What the data set calls it."""
    seconds: float
    """From the first frame to the last."""
    edges_s: tuple[float, float]
    """Where the patches' own cells begin and end."""
    edges_mel: tuple[float, float]
    """The same, in mel bins of all."""
    mel_bins: int
    spectrogram: tuple[str, ...]
    """A row per two mel bins, from the lowest; two hexadecimal digits per two frames, 00 the quietest."""
    sounding: str
    """A letter per column of patches: # where an event sounds, . elsewhere."""


class MethodNotes(Facts):
    """What a method does in every block."""

    method: str
    schedule: str
    blocks: tuple[BlockNotes, ...]
    silence_leads: tuple[float, float, float] | None
    """The mean over blocks of what each says under this name, with the interval of that mean."""
    gone_at: tuple[str, ...]
    """On the picture: a row per row of patches, from the lowest frequency; a letter per patch, `a` where its token goes
    in the first block and so on, `.` where it is left."""


class Understanding(Facts):
    """What was observed, and of what."""

    version: int
    model: str
    weights_sha256: str
    split: str
    clips: int
    seconds: float
    recipe_sha256: str
    """Of the recipes that the clips are mixed from."""
    sounding: float
    """Share of all patches at a time at which an event sounds."""
    torch: str
    suite: Suite
    picture: Picture
    methods: tuple[MethodNotes, ...]


def read_understanding(path: Path) -> Understanding:
    """Read a file. Raises RecordError, naming it, where it is none, or of another version."""
    try:
        found = Understanding.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordError(f"{path}: {where}: {first['msg']}; observe again: python -m bench understand") from None
    if found.version != VERSION:
        raise RecordError(f"{path}: of version {found.version}, this FastAST reads {VERSION}; observe again")
    return found


def write_understanding(path: Path, found: Understanding) -> None:
    """Write a file."""
    write_whole(path, (found.model_dump_json(indent=1) + "\n").encode())
