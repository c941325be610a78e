"""The file of what was observed of methods: `results/understanding/<model>.json`."""

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
    """Number of tokens that joined another one; 0 if the method drops tokens, or the block removes none."""
    along_time: float | None
    """Share of pairs at the same frequency and different times."""
    along_frequency: float | None
    """Share of pairs at the same time and different frequencies."""
    neighbours: float | None
    """Share of pairs that are at most one patch apart along both axes."""
    similarity: tuple[float, float, float] | None
    """Quartiles of the cosine of the keys of pairs."""
    gone_sounding: float | None
    """Share of the patches at times of events that have no token of their own after this block."""
    gone_silent: float | None
    """The same share of all other patches."""
    silence_leads: tuple[float, float, float] | None
    """`gone_silent` minus `gone_sounding`, between the ends of its 95 % interval over clips; None without silence or
    sound."""


class Picture(Facts):
    """A clip on which methods are drawn, as text that stays readable."""

    clip: str
    """Name of the clip in the data set."""
    seconds: float
    """Duration of its frames."""
    edges_s: tuple[float, float]
    """Start and end of the cells that are drawn for patches, in seconds."""
    edges_mel: tuple[float, float]
    """The same along frequency, in mel bins."""
    mel_bins: int
    spectrogram: tuple[str, ...]
    """A row per two mel bins, from the lowest; two hexadecimal digits per two frames, 00 the quietest."""
    sounding: str
    """A character per column of patches: # where an event sounds, . elsewhere."""


class MethodNotes(Facts):
    """What a method does in every block."""

    method: str
    schedule: str
    blocks: tuple[BlockNotes, ...]
    silence_leads: tuple[float, float, float] | None
    """Mean over blocks of their `silence_leads`, between the ends of its own interval."""
    gone_at: tuple[str, ...]
    """Blocks in which tokens go in the picture: a text per row of patches, from the lowest frequency, with a letter per
    patch, `a` for the first block and so on, and `.` for a token that stays."""


class Understanding(Facts):
    """Observations of methods, and what they were made on."""

    version: int
    model: str
    weights_sha256: str
    split: str
    clips: int
    seconds: float
    recipe_sha256: str
    """SHA-256 of the recipes from which the clips are mixed."""
    sounding: float
    """Share of all patches that are at times of events."""
    torch: str
    suite: Suite
    picture: Picture
    methods: tuple[MethodNotes, ...]


def read_understanding(path: Path) -> Understanding:
    """Read a file. Raises RecordError that names it if it is invalid, or of another version."""
    try:
        found = Understanding.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordError(f"{path}: {where}: {first['msg']}; observe again: python -m bench understand") from None
    if found.version != VERSION:
        raise RecordError(f"{path}: has version {found.version}, but this FastAST reads {VERSION}; observe again")
    return found


def write_understanding(path: Path, found: Understanding) -> None:
    """Write observations to a file."""
    write_whole(path, (found.model_dump_json(indent=1) + "\n").encode())
