"""Predictions on disk, next to the record of their quality cell: `predictions/<cell id>.npz`.

A file holds `logits` (n, c) in float32 with the `activation` that turns them into scores, and the hashes of the labels
and of the clips' ids. Older files hold `scores` (n, c) in float16 instead: sigmoids.
Shapes: `n` clips, `c` classes.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastast.names import in_one_line
from fastast.scores import Activation, activation_of, to_ranking, to_scores

Kept = TypeVar("Kept")


class PredictionsError(ValueError):
    """A file that does not hold predictions, or not all of them."""


_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What NumPy, zipfile and zlib raise for a file that is truncated, damaged or in another format."""


@dataclass(frozen=True)
class Predictions:
    """What a model predicted for clips."""

    values: NDArray[np.floating]
    """(n, c): logits, or where `activation` is None the scores themselves, as older files hold them."""
    activation: Activation | None
    """What turns the logits into scores; None for scores."""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Predictions:
        """Return the predictions in a file. Raises ValueError where it has replicates of their score instead."""
        if "replicates" in stored:
            raise ValueError("bench thin left replicates of its score")
        if "logits" not in stored:
            return cls(stored["scores"], None)
        return cls(stored["logits"], activation_of(None, str(stored["activation"])))

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, c)"""
        return self.values.shape

    @cached_property
    def ranking(self) -> NDArray[np.float64]:
        """Values that rank clips and classes, (n, c): metrics are computed from them."""
        if self.activation is None:
            return self.values.astype(np.float64)
        return to_ranking(self.values, self.activation)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Scores in [0, 1], (n, c)."""
        values = self.values.astype(np.float64)
        return values if self.activation is None else to_scores(values, self.activation).astype(np.float64)


def encode_predictions(predictions: Predictions, hashes: Mapping[str, str]) -> bytes:
    """Return the content of a file of predictions, with the hashes of labels and ids."""
    arrays: dict[str, Any] = {name: np.array(value) for name, value in hashes.items()}
    if predictions.activation is None:
        arrays["scores"] = predictions.values
    else:
        arrays |= {"logits": predictions.values, "activation": np.array(predictions.activation)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_predictions(path: Path) -> tuple[Predictions, dict[str, str]]:
    """Return the predictions in a file, and its hashes.

    Raises PredictionsError where it is not a whole file of predictions, FileNotFoundError where there is none.
    """
    return taken_from(path, Predictions.of)


def taken_from(path: Path, take: Callable[[Mapping[str, Any]], Kept]) -> tuple[Kept, dict[str, str]]:
    """Return what `take` makes of the arrays in a file of predictions or of their replicates, and its hashes.

    Raises PredictionsError where the file is damaged or `take` refuses it, FileNotFoundError where there is none.
    """
    try:
        with np.load(path) as stored:
            hashes = {name: str(stored[name]) for name in stored.files if name.endswith("_sha256")}
            return take(stored), hashes
    except FileNotFoundError:
        raise
    except _DAMAGED as error:
        raise PredictionsError(
            f"{path}: not a whole file of predictions ({in_one_line(error)}); delete it and the record of its cell, "
            "and run the sweep again"
        ) from error
