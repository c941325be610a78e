"""Folders of one's own, in every place that people leave clips, folders and tables: labels and splits are right.

Every clip is a recording that is told by ear, so that its label is checked against its sound.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from sound_files import heard, write_sound
from typer.testing import CliRunner

from fastast.cli import app
from fastast.data.layouts.audio_folder import AudioFolder
from fastast.data.layouts.recognise import recognise_set
from fastast.data.layouts.table import Table
from fastast.data.sampling import all_labels
from fastast.data.training_set import DataError, DataWarning, SplitNotFoundError, all_ids

CSV = "file_name,label\n"
BOTH = {"train/a/0.wav": "bird", "train/b/0.wav": "bell", "test/a/0.wav": "bell", "test/b/0.wav": "bird"}


def rows(clips: dict[str, str]) -> str:
    return CSV + "".join(f"{path},{label}\n" for path, label in clips.items())


def write(root: Path, clips: dict[str, str], tables: dict[str, str]) -> Path:
    for path, name in clips.items():
        write_sound(root / path, name)
    for path, content in tables.items():
        (root / path).write_text(content)
    return root


def read(options: Any, split: str) -> dict[str, str]:
    """Id -> label of every clip, each of which is heard to be what its label says."""
    data = options.split(split)
    found = {data.id(i): data.classes[row.argmax()] for i, row in enumerate(all_labels(data))}
    assert list(found.values()) == [heard(data.clip(i, 0)[0]) for i in range(len(data))]
    return found


SPLIT = {f"{split}/{name}/0.wav": name for split in ("train", "test") for name in ("bell", "bird")}
TREES: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "classes": ("", SPLIT, {}),
    "a level down": ("mydata", SPLIT, {}),
    "two levels down": ("archive/mydata", SPLIT, {}),
    "a table above the splits": ("", BOTH, {"metadata.csv": rows(BOTH)}),
    "a table above the splits, a level down": ("mydata", BOTH, {"metadata.csv": rows(BOTH)}),
    "a table in each split": (
        "",
        BOTH,
        {
            "train/metadata.csv": CSV + "a/0.wav,bird\nb/0.wav,bell\n",
            "test/metadata.jsonl": '{"file_name": "a/0.wav", "label": "bell"}\n'
            '{"file_name": "b/0.wav", "label": "bird"}',
        },
    ),
    "a table in every folder": (
        "",
        BOTH,
        {f"{path.rpartition('/')[0]}/metadata.csv": f"{CSV}0.wav,{name}\n" for path, name in BOTH.items()},
    ),
    "a nearer table is right": (
        "",
        BOTH,
        {
            "metadata.csv": rows({path: "bell" for path in BOTH}),
            "train/a/metadata.csv": CSV + "0.wav,bird\n",
            "test/b/metadata.csv": CSV + "0.wav,bird\n",
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("tree", TREES)
def test_labels_and_splits_are_those_of_the_nearest_table_or_of_the_folders(tmp_path: Path, tree: str) -> None:
    below, clips, tables = TREES[tree]
    write(tmp_path / below, clips, tables)
    name, options = recognise_set(tmp_path)
    assert name == "audio_folder"
    for split in ("train", "test"):
        assert read(options, split) == {path: label for path, label in clips.items() if path.startswith(split)}
    with pytest.raises(SplitNotFoundError):
        options.split("val")


def test_a_table_above_the_folder_of_splits_is_read(tmp_path: Path) -> None:
    clips = {f"mydata/{path}": label for path, label in BOTH.items()}
    write(tmp_path, clips, {"metadata.csv": rows(clips)})
    assert set(read(AudioFolder(root=str(tmp_path)), "test")) == {"mydata/test/a/0.wav", "mydata/test/b/0.wav"}


def test_clips_beside_a_table_one_level_down_have_its_labels(tmp_path: Path) -> None:
    clips = {"0.wav": "bird", "1.wav": "bell", "2.wav": "bell"}
    write(tmp_path / "data", clips, {"metadata.csv": rows(clips)})
    assert read(recognise_set(tmp_path)[1], "train") == clips


def test_a_table_of_ones_own_is_found_a_level_down(tmp_path: Path) -> None:
    clips = {"wavs/0.wav": "bird", "wavs/1.wav": "bell"}
    write(tmp_path / "clips", clips, {"all.csv": "file,label\nwavs/0.wav,bird\nwavs/1.wav,bell\n"})
    name, options = recognise_set(tmp_path)
    assert (name, read(options, "train")) == ("table", clips)


def test_clips_that_a_table_does_not_list_are_counted(tmp_path: Path) -> None:
    clips = {f"{i}.wav": "bird" for i in range(4)}
    write(tmp_path, clips, {"metadata.csv": rows({"0.wav": "bird", "1.wav": "bird"})})
    with pytest.warns(DataWarning, match=r"2 of 4 clips are not in metadata.csv and are left out; the first is 2.wav"):
        assert all_ids(AudioFolder(root=str(tmp_path)).split("train")) == ("0.wav", "1.wav")


def test_a_table_elsewhere_without_labels_leaves_them_to_the_folders_and_is_named(tmp_path: Path) -> None:
    write(tmp_path, SPLIT, {"metadata.csv": "file_name,seconds\ntrain/bird/0.wav,5\n"})
    with pytest.warns(DataWarning, match=r"metadata.csv: not used, .* it has file_name, seconds.*-s label=COLUMN"):
        assert len(read(AudioFolder(root=str(tmp_path)), "train")) == 2


def test_a_set_of_one_class_is_not_sound(tmp_path: Path) -> None:
    write(tmp_path, {"dog/0.wav": "bird", "dog/1.wav": "bell"}, {})
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path), "-q", "--processes", "1"])
    assert result.exit_code == 1
    assert "'dog' is the only class, so there is nothing to classify" in result.output
    assert "problems found: those named above drop clips or bias results" in result.output


def test_clips_in_no_folder_and_no_table_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"train/0.wav": "bird", "test/0.wav": "bell"}, {})
    with pytest.raises(DataError, match=r"not in a class folder, and no metadata.csv gives its label"):
        AudioFolder(root=str(tmp_path)).split("train")


def test_one_file_by_two_names_is_not_two_clips(tmp_path: Path) -> None:
    write(tmp_path, {"0.wav": "bird", "1.wav": "bell"}, {"all.csv": "file,label\n0.wav,bird\n./0,bell\n1.wav,bell\n"})
    with pytest.raises(
        DataError, match=r"the clips '0.wav' and '0' of one split are one file, .*0.wav; remove one row"
    ):
        recognise_set(tmp_path)[1].split("train")


def test_one_file_by_two_names_in_two_splits_is_not_sound(tmp_path: Path) -> None:
    tables = {"train.csv": "file,label\n0.wav,bird\n1.wav,bell\n", "test.csv": "file,label\n0,bird\n2.wav,bell\n"}
    write(tmp_path, {"0.wav": "bird", "1.wav": "bell", "2.wav": "bell"}, tables)
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path), "-q", "--processes", "1"])
    assert "in both train and test: 1 clip\n    0.wav = 0\n" in result.output
    assert result.exit_code == 1


@pytest.mark.parametrize("header", ["file,label,label", "file,file,label", "File,file,label,file"])
def test_a_header_with_a_name_twice_is_refused(tmp_path: Path, header: str) -> None:
    row = ",".join("bird" if name == "label" else "0.wav" for name in header.split(","))
    write(tmp_path, {"0.wav": "bird"}, {"all.csv": f"{header}\n{row}\n"})
    with pytest.raises(DataError, match=r"all.csv: two columns are called '(file|label)'; remove or rename one"):
        Table(root=str(tmp_path), table="all.csv", split_column="none").split("train")


# Splits that a metadata file says -------------------------------------------------------------------------------------

THREE = {"0.wav": ("bird", "train"), "1.wav": ("bell", "Valid"), "2.wav": ("bell", "eval")}


def write_splits(root: Path, column: str, kind: str = "csv", words: dict[str, str] | None = None) -> AudioFolder:
    """Three clips and a metadata file with a column that says their splits, perhaps in other words."""
    lines = [(path, label, (words or {}).get(word, word)) for path, (label, word) in THREE.items()]
    text = f"file_name,label,{column}\n" + "".join(f"{','.join(line)}\n" for line in lines)
    if kind == "jsonl":
        text = "".join(
            json.dumps(dict(zip(("file_name", "label", column), line, strict=True))) + "\n" for line in lines
        )
    write(root, {path: label for path, (label, _) in THREE.items()}, {f"metadata.{kind}": text})
    return AudioFolder(root=str(root))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("column", ["split", "Subset"])
def test_a_column_of_a_metadata_file_says_the_split(tmp_path: Path, kind: str, column: str) -> None:
    options = write_splits(tmp_path, column, kind)
    assert recognise_set(tmp_path) == ("audio_folder", options)
    assert [read(options, split) for split in ("train", "val", "test")] == [
        {"0.wav": "bird"}, {"1.wav": "bell"}, {"2.wav": "bell"},
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"a metadata file says which clips are val; leave data.val_share out"):
        dataclasses.replace(options, val_share=0.1).split("train")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_split_of_another_word_is_refused_with_its_line(tmp_path: Path, kind: str) -> None:
    options = write_splits(tmp_path, "split", kind, {"eval": "holdout"})
    says = rf"metadata.{kind}, line {4 if kind == 'csv' else 3}: split is 'holdout'; it must be one of train, training"
    with pytest.raises(DataError, match=says):
        options.split("train")


@pytest.mark.parametrize("column", ["fold", "subset"])
def test_a_column_that_says_no_split_in_words_is_refused_with_what_to_do(tmp_path: Path, column: str) -> None:
    options = write_splits(tmp_path, column, words={"train": "1", "Valid": "2", "eval": "3"})
    with pytest.raises(DataError, match=rf"csv, line 2: {column} is '1', and all clips would be trained on") as error:
        options.split("train")
    for says, clips in (("instead: ", 3), ("To test on a fold: ", 2)):
        words = str(error.value).partition(says)[2].partition(". To")[0].split()
        given: dict[str, Any] = dict(word.split("=") for word in words if "=" in word)
        assert words[:2] == ["--name", "table"]
        if "test_folds" in given:
            given["test_folds"] = tuple(json.loads(given["test_folds"]))
        assert len(Table(root=str(tmp_path), **given).split("train")) == clips


def test_folders_of_splits_say_the_split_and_a_column_none(tmp_path: Path) -> None:
    table = "file_name,label,subset\n" + "".join(f"{path},{label},clean\n" for path, label in BOTH.items())
    write(tmp_path, BOTH, {"metadata.csv": table})
    assert set(read(AudioFolder(root=str(tmp_path)), "test")) == {"test/a/0.wav", "test/b/0.wav"}


def test_a_key_of_another_name_is_named_with_the_setting_that_reads_it(tmp_path: Path) -> None:
    line = {"file_name": "0.wav", "labels": ["bird"], "split": "train"}
    write(tmp_path, {"0.wav": "bird"}, {"metadata.jsonl": json.dumps(line)})
    says = r"line 1: no 'label' in it; it has file_name, labels, split; name the column: -s label=labels$"
    with pytest.raises(DataError, match=says):
        AudioFolder(root=str(tmp_path)).split("train")
    options = AudioFolder(root=str(tmp_path), label="labels")
    assert read(options, "train") == {"0.wav": "bird"}
    with pytest.raises(
        SplitNotFoundError, match=r"splits found: train. Write val into a column split of metadata.jsonl, or"
    ):
        options.split("val")


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_a_share_that_draws_no_clip_is_to_be_raised(tmp_path: Path, kind: str) -> None:
    clips = {f"{name}/{clip}.wav": name for name in ("bird", "bell") for clip in range(6)}
    write(tmp_path, clips, {"all.csv": "file,label\n" + "".join(f"{path},{name}\n" for path, name in clips.items())})
    options: Any = AudioFolder(root=str(tmp_path), val_share=0.01)
    if kind == "table":
        options = Table(root=str(tmp_path), table="all.csv", split_column="none", val_share=0.01)
    with pytest.raises(SplitNotFoundError, match=r"a share of 0.01 of 12 clips drew none; raise it: -s data.val_share"):
        options.split("val")


# A table beside the folder of its clips -------------------------------------------------------------------------------


def test_errors_of_a_table_beside_its_clips_lead_to_the_options_that_read_it(tmp_path: Path) -> None:
    table = "filename,fold,category\n0.wav,1,bird\n1.wav,2,bell\n"
    write(tmp_path, {"wavs/0.wav": "bird", "wavs/1.wav": "bell"}, {"meta.csv": table})
    (tmp_path / "figures").mkdir()
    with pytest.raises(DataError, match=r"name yours: -s file=filename -s label=category -s split_column=none") as one:
        Table(root=str(tmp_path), table="meta.csv").split("train")
    given = dict(word.split("=") for word in str(one.value).partition("name yours: ")[2].split() if "=" in word)
    for missing in ("refuse", "leave out"):
        options = Table(root=str(tmp_path), table="meta.csv", missing=missing, **given)
        with pytest.raises(
            DataError, match=rf"start from the folder of the clips: {tmp_path}/wavs with -s table=../meta.csv"
        ):
            options.split("train")
    assert read(Table(root=str(tmp_path / "wavs"), table="../meta.csv", **given), "train") == {
        "0.wav": "bird", "1.wav": "bell",
    }  # fmt: skip
