"""File names that download tools give to the clips of AudioSet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fastast.data.clip_files import ENDINGS
from fastast.data.training_set import DataError

_SPELLINGS: tuple[Callable[[float, float], str], ...] = (
    lambda start, end: "",
    lambda start, end: f"_{start:.3f}_{end:.3f}",
    lambda start, end: f"_{start:.3f}",
    lambda start, end: f"_{start:06.0f}",
    lambda start, end: f"_{start:.0f}_{end:.0f}",
    lambda start, end: f"_{start:.0f}",
    lambda start, end: f"_{start:.1f}_{end:.1f}",
    lambda start, end: f"_{1000 * start:.0f}_{1000 * end:.0f}",
)
"""What may follow the id in a name, as a function of the clip's start and end in its video (seconds)."""
_SHOWN = 3
"""Number of names that a message shows."""


class ClipNames:
    """Clips by file name, to be found by id and time."""

    def __init__(self, paths: Iterable[Path], ids: Iterable[str]) -> None:
        """`ids`: every id that will be looked for, as Y followed by one id may itself be another id.

        Raises DataError where two folders hold a clip of the same name.
        """
        self._paths: dict[str, Path] = {}
        for path in paths:
            if (other := self._paths.setdefault(path.stem, path)) is not path:
                self._paths[path.stem] = _better(other, path)
        self._ids = frozenset(ids)
        self._last = ("", _SPELLINGS[0])

    def find(self, clip: str, start: float, end: float) -> Path | None:
        """Return the file of a clip; None where there is none."""
        prefix, spelling = self._last  # the names in a folder are all spelt the same way
        if (path := self._paths.get(f"{prefix}{clip}{spelling(start, end)}")) is not None and self._may(prefix, clip):
            return path
        for prefix in ("", "Y"):
            for spelling in _SPELLINGS:
                if (path := self._paths.get(f"{prefix}{clip}{spelling(start, end)}")) and self._may(prefix, clip):
                    self._last = (prefix, spelling)
                    return path
        return None

    def _may(self, prefix: str, clip: str) -> bool:
        return not prefix or prefix + clip not in self._ids

    def describe(self, missing: Sequence[str]) -> str:
        """Return a remark on the names that exist: those that contain a missing id, or else the first."""
        if not self._paths:
            return " (there are no clips at all)"
        near = [path.name for stem, path in self._paths.items() if any(clip in stem for clip in missing[:_SHOWN])]
        if near:
            return f" (found {', '.join(near[:_SHOWN])}: another part of the video, or a name of an unknown form)"
        return f" (the clips there are called {', '.join(path.name for path in list(self._paths.values())[:_SHOWN])})"


def _better(one: Path, other: Path) -> Path:
    if one.parent != other.parent:
        raise DataError(f"{other}: the same clip as {one}; remove one of the two folders, or name one as data.root")
    return min(one, other, key=lambda path: ENDINGS.index(path.suffix[1:].lower()))
