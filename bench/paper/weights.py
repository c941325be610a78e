"""Find the checkpoints below a folder, and tell which data set of the paper each is for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.paper.protocols import PROTOCOLS
from fastast.checkpoints import Checkpoint, CheckpointError, load_checkpoint

_ENDINGS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")


@dataclass(frozen=True, kw_only=True)
class FoundWeights:
    """A checkpoint; its tensors are not kept."""

    path: Path
    slug: str
    """Its name in sweeps, made from its path: lower-case letters, digits, - and _."""
    checkpoint: Checkpoint


def find_weights_below(folder: Path) -> tuple[list[FoundWeights], list[str]]:
    """Return the checkpoints below a folder, and why other files that look like one are not."""
    found, refused = [], []
    for path in _candidates(folder):
        try:
            checkpoint = replace(load_checkpoint(path), state={})
        except CheckpointError as error:
            refused.append(str(error))
            continue
        found.append(FoundWeights(path=path, slug=_slug(path.relative_to(folder)), checkpoint=checkpoint))
    slugs = [one.slug for one in found]
    return [
        replace(one, slug=f"{one.slug}_{one.checkpoint.sha256[:8]}") if slugs.count(one.slug) > 1 else one
        for one in found
    ], refused


def _candidates(folder: Path) -> Iterator[Path]:
    """Yield files and folders that may be checkpoints, by name; links are not followed into folders."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "config.json" in files and any(name.endswith(_ENDINGS) for name in files):
            folders.clear()
            yield Path(where)
            continue
        yield from (
            Path(where) / name for name in sorted(files) if name.endswith(_ENDINGS) and not name.startswith(".")
        )


def _slug(path: Path) -> str:
    """Return a path as a name: `runs/AST 0.45.pth` -> `runs_ast_0_45`."""
    stem = path.with_suffix("") if path.suffix in _ENDINGS else path
    return re.sub(r"[^a-z0-9-]+", "_", stem.as_posix().lower()).strip("_-") or "model"


def likely_sets(weights: FoundWeights, classes: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the names of the sweeps whose data a checkpoint is for.

    `classes`: of every data set that is there, by sweep. A checkpoint is matched by the names of its classes if a data
    set has the same, else by their number; for a data set that is not there, that is the published number.
    """
    names, count = weights.checkpoint.labels, weights.checkpoint.geometry.num_classes
    if names is not None:
        by_name = [sweep for sweep, there in classes.items() if set(names) == set(there)]
        if by_name:
            return by_name
    numbers = {protocol.sweep: protocol.num_classes for protocol in PROTOCOLS}
    numbers |= {sweep: len(there) for sweep, there in classes.items()}
    return [sweep for sweep, number in numbers.items() if number == count]


def without_fold(slug: str) -> str:
    """Return the name of a model without its fold: `esc_fold3_last` -> `esc_last`."""
    return re.sub(r"(^|_)fold[_-]?[1-5](?=_|$)", "", slug).strip("_-") or "models"


def left_out_fold(weights: FoundWeights, folder: Path) -> int | None:
    """Return the fold of ESC-50 that a model was not trained on, by the recipe in its file or `fold3` in its path.

    None where neither says, or the path names several.
    """
    recipe: Any = (weights.checkpoint.training or {}).get("recipe")
    data = recipe.get("data") if isinstance(recipe, Mapping) else None
    if isinstance(data, Mapping) and isinstance(data.get("fold"), int):
        return int(data["fold"])
    said = {
        int(number) for number in re.findall(r"fold[\s_-]?([1-5])(?!\d)", str(weights.path.relative_to(folder)), re.I)
    }
    return said.pop() if len(said) == 1 else None
