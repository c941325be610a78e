"""Average the weights of several trained models into one model, as fast as each of them.

Weights on the line between a model and its fine-tuned version often beat both (Wortsman et al. 2022,
arXiv 2109.01903); so can the mean of several models fine-tuned from the same one (model soups, Wortsman et al. 2022,
arXiv 2203.05482). Models trained separately from random weights are not in the same basin of the loss, and their
average is useless.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from fastast.checkpoints.checkpoint import Checkpoint, CheckpointError
from fastast.checkpoints.load import load_checkpoint
from fastast.checkpoints.own import save_checkpoint


@torch.no_grad()
def average_checkpoints(
    out: str | Path,
    paths: Sequence[str | Path],
    shares: Sequence[float] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write the weighted mean of checkpoints in FastAST's own format, and return `out`.

    `shares` are the weights of the mean, one per checkpoint, each from 0 to 1, with a sum of 1; by default they are
    equal. The mean is computed in float64 and stored as `dtype`. The training notes list every file with its SHA-256,
    share and own notes.

    Raises CheckpointError for a file that cannot be read, fewer than two files, invalid shares, models that differ in
    shape, classes, normalisation or loss, and if only some files state their classes or normalisation; then nothing is
    written. A file may lack its loss, as files from before there was a choice do.
    """
    if len(paths) < 2:
        raise CheckpointError(f"an average needs at least two checkpoints, not {len(paths)}")
    weights = [1 / len(paths)] * len(paths) if shares is None else list(shares)
    _check_shares(paths, weights)
    found = [load_checkpoint(path) for path in paths]
    _check_alike(found)
    mean = {
        key: torch.stack([share * one.state[key].double() for share, one in zip(weights, found, strict=True)]).sum(0)
        for key in found[0].state
    }
    parts = [
        {"file": one.path.name, "sha256": one.sha256, "share": share, "training": one.training}
        for share, one in zip(weights, found, strict=True)
    ]
    return save_checkpoint(
        out,
        mean,
        geometry=found[0].geometry,
        labels=found[0].labels,
        normalisation=found[0].normalisation,
        loss=next((one.loss for one in found if one.loss is not None), None),
        training={"average_of": parts},
        dtype=dtype,
    )


def _check_shares(paths: Sequence[str | Path], shares: Sequence[float]) -> None:
    if len(shares) != len(paths):
        raise CheckpointError(
            f"{len(shares)} shares for {len(paths)} checkpoints; give one each, or none for equal shares"
        )
    for path, share in zip(paths, shares, strict=True):
        if not 0 <= share <= 1:
            raise CheckpointError(f"{path}: its share is {share:g}; shares must be from 0 to 1")
    if not math.isclose(total := math.fsum(shares), 1, abs_tol=1e-6):
        raise CheckpointError(f"the shares add up to {total:g}; they must add up to 1")


def _check_alike(found: Sequence[Checkpoint]) -> None:
    for name in ("shape", "classes", "normalisation", "loss"):
        saying = [one for one in found if _said(one, name) is not None]
        silent = [one for one in found if _said(one, name) is None]
        if saying and silent and name in _ALL_SAY:
            raise CheckpointError(
                f"{silent[0].path}: it does not say its {name}, but {saying[0].path} does, so they cannot be compared; "
                f"write the file again with fastast.save_checkpoint(path, model, {_ALL_SAY[name]}=...)"
            )
        for other in saying[1:]:
            if (theirs := _said(other, name)) != (mine := _said(saying[0], name)):
                raise CheckpointError(
                    f"{other.path}: its {name} differs from that of {saying[0].path}: {_difference(theirs, mine)}; "
                    "only models that were trained from the same weights can be averaged"
                )


_ALL_SAY = {"classes": "labels", "normalisation": "normalisation"}
"""What either all files or none must state, as the order of classes must not be guessed, and the argument of
`save_checkpoint` that states it."""


def _said(one: Checkpoint, name: str) -> object:
    return {"shape": one.geometry, "classes": one.labels, "normalisation": one.normalisation, "loss": one.loss}[name]


def _difference(one: object, other: object) -> str:
    """Describe the first difference."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        index = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
        return f"class {index} is {one[index : index + 1]!r}, there {other[index : index + 1]!r}"
    if isinstance(one, str):
        return f"{one!r}, there {other!r}"
    mine, theirs = vars(one), vars(other)
    name = next(name for name in mine if mine[name] != theirs[name])
    return f"{name} is {mine[name]!r}, there {theirs[name]!r}"
