"""Speech Commands V2 as published: a folder per word, and two lists of files (Warden 2018)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

from fastast.data.clip_files import find_root, is_clip
from fastast.data.datasets import LATER
from fastast.data.folders import FolderSet, Recording, check_data_options, check_root, check_split
from fastast.data.tables import read_lines
from fastast.data.training_set import DataError, DataNotFoundError, DataWarning
from fastast.names import unknown_name

WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip
"""The 35 words of version 2."""
NEW_IN_V2 = ("backward", "follow", "forward", "learn", "visual")
"""Words that version 1 lacks."""
LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
_WHAT = "Speech Commands V2"


@dataclass(frozen=True, kw_only=True)
class SpeechCommands:
    """The `[data]` section of a recipe for Speech Commands V2."""

    root: str = ""
    """Folder of the unpacked archive, with a folder per word, `validation_list.txt` and `testing_list.txt`."""
    channels: str = field(default="average", metadata=LATER)
    """How several channels become one: `average`, or `first` as in AST's own code."""

    def __post_init__(self) -> None:
        check_data_options(self)

    @classmethod
    def recognise(cls, root: Path) -> SpeechCommands | None:
        """Return the options for a folder of this layout; None for any other folder."""
        found = find_root(root, LISTS["test"])
        words = [word for word in WORDS if (found / word).is_dir()]
        return cls(root=str(root)) if words and (found / LISTS["test"]).is_file() else None

    def split(self, name: str) -> FolderSet:
        """Return val or test as listed, or train, which is every other file of the 35 words.

        Raises DataError where a line of a list matches no clip, which would otherwise be trained on, or repeats one.
        Warns where a word has no clip; a set with exactly the 30 words of version 1 is refused.
        """
        check_split(name, _WHAT)
        root = find_root(check_root(self.root, _WHAT, "a folder per word and testing_list.txt"), LISTS["test"])
        there = {file: None for word in WORDS for file in _clips(root, word)}
        listed = _read_lists(root, there)
        files = [file for file in there if listed.get(file, "train") == name]
        if not files:
            raise DataNotFoundError(f"{root}: no clip is in the {name} split; unpack the whole archive")
        _check_words(root, {file.partition("/")[0] for file in there})
        recordings = [
            Recording(id=file, path=root / file, columns=(WORDS.index(file.partition("/")[0]),)) for file in files
        ]
        return FolderSet(WORDS, recordings, task="single_label", channels=self.channels)


def _clips(root: Path, word: str) -> list[str]:
    """Return the clips of a word as `word/name`, the form of the published lists."""
    folder = root / word
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [f"{word}/{name}" for name in names if is_clip(name) and name.lower().endswith(".wav")]


def _read_lists(root: Path, there: dict[str, None]) -> dict[str, str]:
    """Return file -> split for every file in a list, however the list spells its path."""
    spelt = {file.casefold(): file for file in there}
    splits: dict[str, str] = {}
    lines: dict[str, str] = {}
    for split, table in LISTS.items():
        for number, text in read_lines(root / table, _WHAT):
            if not text.strip():
                continue
            where = f"{root / table}, line {number}"
            parts = [part for part in text.strip().replace("\\", "/").split("/") if part not in ("", ".")]
            file = "/".join(parts[-2:])  # drops any prefix: ./, or the folder of the archive
            word = parts[-2].lower() if len(parts) > 1 else ""
            if word not in WORDS:
                raise DataError(f"{where}: {text.strip()!r}: {unknown_name(f'word of {_WHAT}', word, WORDS)}")
            found = file if file in there else spelt.get(file.casefold())
            if found is None:
                raise DataNotFoundError(
                    f"{root / file}: this clip of {table}, line {number}, is missing; unpack the whole archive"
                )
            if found in lines:
                raise DataError(f"{where}: {found!r} is already in {lines[found]}; a clip must be in one split, once")
            splits[found], lines[found] = split, where
    return splits


def _check_words(root: Path, present: set[str]) -> None:
    absent = [word for word in WORDS if word not in present]
    if not absent:
        return
    names = ", ".join(absent)
    if tuple(absent) == NEW_IN_V2:
        raise DataError(
            f"{root}: this is version 1 of Speech Commands (30 words): it lacks {names}, which version 2 has and "
            "the model would never learn; fetch version 2 (speech_commands_v0.02)"
        )
    warnings.warn(f"{root}: {len(absent)} of the 35 words have no clip: {names}", DataWarning, stacklevel=3)
