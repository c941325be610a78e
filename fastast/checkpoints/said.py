"""Read what users state on the command line about a checkpoint whose file does not say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastast.checkpoints.checkpoint import CheckpointError
from fastast.frontend import Normalisation


def read_said(geometry: Sequence[str], normalisation: str = "") -> dict[str, Any]:
    """Return `geometry` and `normalisation` as `load_checkpoint` takes them, from texts `name=value` and `mean,std`.

    Raises CheckpointError for texts of another form; whether a field exists is left to the loader.
    """
    fields: dict[str, int] = {}
    for text in geometry:
        name, _, value = text.partition("=")
        try:
            fields[name.strip()] = int(value)
        except ValueError:
            raise CheckpointError(
                f"--geometry {text}: write NAME=VALUE with a whole number, such as num_frames=312"
            ) from None
    return {"geometry": fields, "normalisation": _read_pair(normalisation) if normalisation else None}


def _read_pair(text: str) -> Normalisation:
    try:
        mean, std = (float(part) for part in text.split(","))
        return Normalisation(mean=mean, std=std)
    except ValueError as error:
        raise CheckpointError(
            f"--normalisation {text}: write MEAN,STD, such as -4.2677393,4.5689974 ({error})"
        ) from None
