"""Splits of a data set: labels mean the same in all of them, and clips of one are not in another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from sound_files import write_sound

from fastast.data.caching.making import make_cache
from fastast.data.checking.check import check_set
from fastast.data.folders import FolderSet, Recording
from fastast.data.layouts.table import Table
from fastast.data.splits import check_classes, warn_of_shared_clips
from fastast.data.training_set import DataError, DataWarning

NAMES = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class OwnClasses:
    """A data set of one's own whose splits name the classes that they have clips of."""

    root: str = ""

    def split(self, name: str) -> FolderSet:
        files = sorted((Path(self.root) / name).glob("*.wav"))
        classes = sorted(file.stem for file in files)
        recordings = [
            Recording(id=f"{name}/{file.name}", path=file, columns=(classes.index(file.stem),)) for file in files
        ]
        return FolderSet(classes, recordings, task="single_label")


@pytest.fixture
def own(tmp_path: Path) -> OwnClasses:
    for split, names in {
        "train": ("bell", "bird", "tabla"),
        "val": ("bell", "bird", "tabla"),
        "test": ("bird",),
    }.items():
        for name in names:
            write_sound(tmp_path / "own" / split / f"{name}.wav", name)
    return OwnClasses(root=str(tmp_path / "own"))


def test_splits_of_other_classes_are_no_training_no_cache_and_not_sound(own: OwnClasses, tmp_path: Path) -> None:
    says = "the classes of the split test are not those of train: only train has 'bell', 'tabla'. Every split must"
    with pytest.raises(DataError, match=says):
        check_classes({name: own.split(name) for name in NAMES})
    with pytest.raises(DataError, match=says):
        make_cache("own", own, tmp_path / "cache")
    found = check_set("own", own)
    assert says in found.splits["test"].error
    assert (found.classes, found.is_sound) == (("bell", "bird", "tabla"), False)


def test_the_same_classes_in_another_order_are_other_classes(own: OwnClasses) -> None:
    train = own.split("train")
    with pytest.raises(DataError, match="the same names in another order"):
        check_classes({"train": train, "val": FolderSet(train.classes[::-1], train.entries, task=train.task)})


def test_clips_of_train_in_another_split_are_warned_of(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    for name in ("bird", "bell"):
        write_sound(tmp_path / f"{name}.wav", name)
    rows = {"train.csv": "bird.wav,a\nbell.wav,b\n", "val.csv": "bird.wav,a\n", "test.csv": "./bell,b\n"}
    for table, text in rows.items():
        (tmp_path / table).write_text(f"file,label\n{text}")
    options = Table(root=str(tmp_path), train="train.csv", val="val.csv", test="test.csv")
    splits = {name: options.split(name) for name in NAMES}
    warn_of_shared_clips(splits)
    said = [str(warning.message) for warning in recwarn if warning.category is DataWarning]
    assert said == [
        "data: 1 clip of the 1 in the split val is in train too, such as bird.wav: results on them say nothing about "
        "new clips",
        "data: 1 clip of the 1 in the split test is in train too, such as bell.wav = bell: results on them say nothing "
        "about new clips",
    ]
