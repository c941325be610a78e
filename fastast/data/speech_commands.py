"""Speech Commands V2 as published: a folder a word, and two lists of files (Warden 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastast.data.folders import FolderSet, Recording, check_root, check_root_is_text, read_lines, refuse_missing
from fastast.data.training_set import DataError, DataNotFoundError
from fastast.names import unknown_name

WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip
"""The 35 words of version 2."""
LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}


@dataclass(frozen=True, kw_only=True)
class SpeechCommands:
    """The `[data]` of a recipe on Speech Commands V2."""

    root: str = ""
    """The unpacked archive: holds a folder a word, `validation_list.txt` and `testing_list.txt`."""

    def __post_init__(self) -> None:
        check_root_is_text(self.root)

    def split(self, name: str) -> FolderSet:
        """Return val or test as listed, or train: every other file of the 35 words."""
        if name not in ("train", *LISTS):
            raise DataError(unknown_name("split of Speech Commands", name, ("train", *LISTS)))
        root = check_root(self.root, "Speech Commands V2", "a folder a word and testing_list.txt")
        listed = {split: _read_list(root / file) for split, file in LISTS.items()}
        table = root / LISTS.get(name, "")
        files = listed[name] if name in LISTS else _unlisted(root, {*listed["val"].values(), *listed["test"].values()})
        recordings = []
        for line, file in files.items():
            word = file.split("/")[0]
            if word not in WORDS:
                wrong = unknown_name("word of Speech Commands V2", word, WORDS)
                raise DataError(f"{table}, line {line}: {file!r}: {wrong}")
            recordings.append(Recording(id=file, path=root / file, columns=(WORDS.index(word),)))
        if not recordings:
            raise DataNotFoundError(f"{root}: no clip is in the {name} split; unpack the whole archive")
        missing = [recording.path for recording in recordings if not recording.path.exists()]
        refuse_missing(missing, len(recordings), table, "unpack the whole archive")
        return FolderSet(WORDS, recordings, task="single_label")


def _read_list(path: Path) -> dict[int, str]:
    """Return the files of a list by line."""
    lines = read_lines(path, "Speech Commands V2")
    return {line: text.strip() for line, text in lines if text.strip()}


def _unlisted(root: Path, held_out: set[str]) -> dict[int, str]:
    """Return the files of all words that no list names, numbered."""
    found = (f"{word}/{path.name}" for word in WORDS for path in sorted((root / word).glob("*.wav")))
    return dict(enumerate(file for file in found if file not in held_out))
