"""Which files a model is made of: their hash, and the look before one is written in the place of another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fastast.checkpoints.files import sha256_of
from fastast.checkpoints.huggingface import BESIDE, WEIGHTS, named_shards
from fastast.system.writing import check_target


def check_model_target(path: Path, models: Iterable[str | Path]) -> None:
    """Raise ValueError, before any work is done, for a file that must not be written.

    That is one that could not be, one that a model in `models` (files or folders) is made of, and one
    that would be read in place of these: a new `model.safetensors` beside a folder's `pytorch_model.bin`.
    """
    given = [Path(model) for model in models]
    check_target(path, [file for one in given for file in model_files(one)])
    for folder in filter(Path.is_dir, given):
        if folder.resolve() == path.parent.resolve() and path.name in {file.name for file in model_files(folder)}:
            raise ValueError(
                f"{path}: {folder} would be read with it from then on, in place of the model that is there; name "
                "another file"
            )


def model_files(path: Path) -> list[Path]:
    """Return every file that the model at `path` is read from, and in a folder those that would be, were they there."""
    if path.is_dir():
        return [path / name for name in (*BESIDE, *WEIGHTS)] + named_shards(path)
    return [path, *(path.with_name(name) for name in BESIDE if path.name in WEIGHTS)]


def sha256_of_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of all that a model's folder is read from, one after another by their names.

    What else is in the folder does not count, such as a journal of `fastast tune` that is written there.
    """
    return sha256_of(file for file in (sorted(model_files(path)) if path.is_dir() else [path]) if file.is_file())
