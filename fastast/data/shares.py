"""Hold out shares of the training clips for validation and test, where a data set does not define these splits."""

from __future__ import annotations

import hashlib
from typing import Protocol

from fastast.data.training_set import DataError
from fastast.names import counted


class Shares(Protocol):
    """Options of a data set that can hold out clips."""

    @property
    def val_share(self) -> float:
        """Share of the clips to validate on."""

    @property
    def test_share(self) -> float:
        """Share of the clips to test on."""


def check_shares(options: Shares) -> None:
    """Raise DataError where a value is not a share, or both leave nothing to train on."""
    for name, share in (("val_share", options.val_share), ("test_share", options.test_share)):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
            raise DataError(f"data: {name} is {share!r}; it must be a share of at least 0 and below 1")
    if options.val_share + options.test_share >= 1:
        raise DataError("data: val_share and test_share leave nothing to train on")


def drew_none(options: Shares, split: str, clips: int) -> str:
    """Return what to do about a share for val or test that drew none of the clips; empty where no share was given."""
    share = {"val": options.val_share, "test": options.test_share}.get(split, 0)
    if not share:
        return ""
    higher = f"data.{split}_share={min(0.5, round(2 * share, 3)):g}"
    return f"a share of {share:g} of {counted(clips, 'clip')} drew none; raise it: -s {higher}"


def draw_split(clip: str, options: Shares) -> str:
    """Return the split of a clip by a hash of its name, so that clips added later move none of the others."""
    draw = int.from_bytes(hashlib.sha256(clip.encode(errors="surrogateescape")).digest()[:8], "big") / 2**64
    return "test" if draw < options.test_share else "val" if draw < options.test_share + options.val_share else "train"
