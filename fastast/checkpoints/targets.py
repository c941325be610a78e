"""The files that a model consists of: their hash, and a check before another file is written in their place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fastast.checkpoints.files import sha256_of
from fastast.checkpoints.huggingface import BESIDE, WEIGHTS, named_shards
from fastast.system.writing import check_target


def check_model_target(path: Path, models: Iterable[str | Path]) -> None:
    """Raise ValueError, before any work is done, for a file that must not be written.

    Such a file is one that cannot be written, one that a model in `models` (files or folders) consists of, and one that
    would be read in place of these, such as a new `model.safetensors` next to a folder's `pytorch_model.bin`.
    """
    given = [Path(model) for model in models]
    check_target(path, [file for one in given for file in model_files(one)])
    for folder in filter(Path.is_dir, given):
        if folder.resolve() == path.parent.resolve() and path.name in {file.name for file in model_files(folder)}:
            raise ValueError(
                f"{path}: from then on, {folder} would be read with this file instead of its present model; name "
                "another file"
            )


def model_files(path: Path) -> list[Path]:
    """Return every file that the model at `path` is read from; for a folder, even those that do not exist yet."""
    if path.is_dir():
        return [path / name for name in (*BESIDE, *WEIGHTS)] + named_shards(path)
    return [path, *(path.with_name(name) for name in BESIDE if path.name in WEIGHTS)]


def sha256_of_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files that a model's folder is read from, in the order of their names.

    Other files in the folder do not count, such as a journal that `fastast tune` writes there.
    """
    return sha256_of(file for file in (sorted(model_files(path)) if path.is_dir() else [path]) if file.is_file())
