"""Recognition of the layout of a folder, and the settings that read it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from fastast.data.clip_files import clip_files
from fastast.data.datasets import DATASETS, DataOptions
from fastast.data.training_set import DataError, DataNotFoundError

ORDER = (
    "cache", "esc50", "fsd50k", "speech_commands", "audioset", "hdf5", "parquet", "ast_lists", "table", "audio_folder",
)  # fmt: skip
"""Order in which layouts are tried: published ones first, as nearly every folder fits one of the last two."""
_SHOWN = 6
"""Number of a folder's entries that a message shows."""


def recognise_set(root: Path) -> tuple[str, DataOptions]:
    """Return name and options of the data set in a folder.

    Raises DataNotFoundError where there is no such folder; DataError, saying what it holds, where no layout fits.
    """
    if not root.is_dir():
        raise DataNotFoundError(f"{root}: there is no such folder")
    for name in ORDER:
        kind: Any = DATASETS.get(name)
        options = kind.recognise(root)
        if options is not None:
            return name, options
    there = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if not path.name.startswith("."))
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    clips = sum(1 for _ in clip_files(root))
    raise DataError(
        f"{root}: not a data set that FastAST recognises. It holds {', '.join(there[:_SHOWN]) or 'nothing'}{more}; "
        f"{clips:,} audio files in all. Say what it is: --name {'|'.join(ORDER[1:])}, with its options as -s KEY=VALUE"
    )


def without_refusals(options: DataOptions) -> DataOptions:
    """Return the options with missing clips left out, so that the others can be examined."""
    names = {field.name for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    return dataclasses.replace(options, missing="leave out") if "missing" in names else options  # type: ignore[type-var]


def set_values(options: DataOptions) -> dict[str, Any]:
    """Return the options that are not at their default, except for `missing`."""
    values = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        if value != field.default and field.name != "missing":
            values[field.name] = value
    return values


def setting_lines(name: str, options: DataOptions) -> list[str]:
    """Return the recipe settings that select a data set, as `--set` takes them."""
    lines = [f"data.name={name}"]
    for key, value in set_values(options).items():
        text = json.dumps(list(value)) if isinstance(value, tuple) else value
        lines.append(f"data.{key}={text}")
    return lines
