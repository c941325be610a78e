"""The clips that runs were tested on: stored with the results, and compared before anything is averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastast.classes import describe_difference
from fastast.data.identity import decode_ids, encode_ids
from fastast.system.writing import write_whole
from fastast.training.recipe.checks import RecipeError

TEST_IDS = "test_ids.txt"
"""File in a run's folder with the id of every clip that was scored, one per line; the result holds their hash."""


def write_test_ids(folder: Path, ids: Sequence[str]) -> Path:
    """Write the ids of the clips that a run was tested on, whole or not at all, and return the path."""
    write_whole(folder / TEST_IDS, encode_ids(ids))
    return folder / TEST_IDS


def check_tested(folders: Sequence[Path], folds: Sequence[int | None], results: Sequence[Mapping[str, Any]]) -> None:
    """Raise RecipeError, stating the difference, if the clips that runs were tested on do not allow averaging.

    Runs of one fold (or of data without folds) must share the same clips; different folds must have no clip in common,
    and each must have been scored completely. For older results without ids, only the number of clips is compared.
    """
    first: dict[int | None, int] = {}
    for place, fold in enumerate(folds):
        mine = first.setdefault(fold, place)
        if difference := _difference(folders, results, mine, place):
            raise RecipeError(f"{folders[place]}: tested on other clips than {folders[mine]}: {difference}")
    if len(first) == 1:
        return
    seen: dict[str, Path] = {}
    for place in first.values():
        if skipped := results[place].get("test_skipped", 0):
            raise RecipeError(
                f"{folders[place]}: {skipped} clips of its fold could not be read, so its score does not cover the "
                "whole fold; mend or fetch them, and test it again"
            )
        for name in _ids(folders[place]):
            if name in seen:
                raise RecipeError(
                    f"{folders[place]}: tested on {name!r}, as {seen[name]} was, though they are different folds"
                )
            seen[name] = folders[place]


def _difference(folders: Sequence[Path], results: Sequence[Mapping[str, Any]], mine: int, other: int) -> str:
    """Return which clips only one of two runs was tested on, as text; empty if there are none."""
    counts = [results[place]["test_clips"] for place in (mine, other)]
    hashes = [str(results[place].get("test_ids_sha256", "")) for place in (mine, other)]
    if not all(hashes):
        return "" if counts[0] == counts[1] else f"{counts[1]} clips, not {counts[0]}"
    if hashes[0] == hashes[1]:
        return ""
    there, here = (_ids(folders[place]) for place in (mine, other))
    if not here or not there:
        return f"{counts[1]} clips (ids {hashes[1][:12]}), not {counts[0]} (ids {hashes[0][:12]})"
    return describe_difference(here, there, "the former", "the latter") or "the same clips in another order"


def _ids(folder: Path) -> list[str]:
    path = folder / TEST_IDS
    return decode_ids(path.read_bytes()) if path.is_file() else []
