"""Which files a model is made of, and the look before a file is written in the place of one of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fastast.checkpoints.huggingface import BESIDE, WEIGHTS, find_shards
from fastast.system.writing import check_target
from fastast.zoo import TRAINED


def check_model_target(path: Path, models: Iterable[str | Path]) -> None:
    """Raise ValueError, before any work is done, for a file that must not be written.

    That is one that could not be, one that a model in `models` (names of the zoo, files or folders) is made of, and one
    that would be read in place of these: a new `model.safetensors` beside a folder's `pytorch_model.bin`.
    """
    given = [TRAINED.get(str(model), Path(model)) for model in models]
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
        return [path / name for name in (*BESIDE, *WEIGHTS)] + find_shards(path)
    return [path, *(path.with_name(name) for name in BESIDE if path.name in WEIGHTS)]
