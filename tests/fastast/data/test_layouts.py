"""Layouts that people have on disk: every clip is found with its own labels, or what is wrong is named."""

from __future__ import annotations

import io
import os
import pickle
import resource
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import (
    BALANCED,
    COLUMNS,
    EVAL,
    MIDS,
    UNBALANCED,
    write_ast_lists,
    write_audio_folder,
    write_audioset,
    write_esc50,
    write_fsd50k,
    write_hdf5,
    write_parquet,
    write_shard,
    write_speech_commands,
    write_table,
)
from sound_files import encode, heard, sounds, write_sound

from fastast.data.decoding import AudioError
from fastast.data.layouts.ast_lists import ASTLists
from fastast.data.layouts.audio_folder import AudioFolder
from fastast.data.layouts.audioset import AudioSet
from fastast.data.layouts.esc50 import ESC50
from fastast.data.layouts.fsd50k import FSD50K
from fastast.data.layouts.hdf5 import HDF5
from fastast.data.layouts.ontology import read_ontology
from fastast.data.layouts.parquet import Parquet
from fastast.data.layouts.recognise import recognise_set, without_refusals
from fastast.data.layouts.speech_commands import WORDS, SpeechCommands
from fastast.data.layouts.table import Table
from fastast.data.sampling import all_labels
from fastast.data.shards import OpenFiles, find_shards
from fastast.data.training_set import DataError, DataNotFoundError, DataWarning, SplitNotFoundError, all_ids


def what_is_heard(data: Any) -> dict[str, str]:
    """Id -> the recording that its clip is."""
    return {data.id(index): heard(data.clip(index, 0)[0]) for index in range(len(data))}


def labels_of(data: Any) -> list[list[str]]:
    return [[data.classes[column] for column in row.nonzero()[0]] for row in all_labels(data)]


# AudioSet (cases 10, 11, 13) ------------------------------------------------------------------------------------------

NAMES = {
    "the id": "{table}/{id}.wav",
    "PANNs": "audios/{table}_segments/Y{id}.wav",
    "PANNs, in parts": "audios/{table}_segments/{table}_segments_part00/Y{id}.wav",
    "CED, balanced": "data/{table}/{id}_{start:.3f}.wav",
    "CED": "data/{table}/{id}_{start:.3f}_{end:.3f}.wav",
    "DCASE": "{table}/Y{id}_{start:.3f}_{end:.3f}.wav",
    "VGGSound": "{table}/{id}_{start:06.0f}.flac",
    "whole seconds": "{table}/{id}_{start:.0f}_{end:.0f}.opus",
    "milliseconds": "{table}/{id}_{start_ms}_{end_ms}.mp3",
    "all in one folder": "{id}.ogg",
    "all in one folder below": "wav/{id}.wav",
    "capital ending": "{table}/{id}.WAV",
}


@pytest.mark.parametrize("names", NAMES)
def test_clips_of_audioset_are_found_whatever_downloaders_call_them(tmp_path: Path, names: str) -> None:
    pattern = NAMES[names]
    root = write_audioset(tmp_path, pattern.replace(".WAV", ".wav"))
    if pattern.endswith(".WAV"):
        for path in root.rglob("*.wav"):
            path.rename(path.with_suffix(".WAV"))
    data = AudioSet(root=str(root), subset="full").split("train")
    clips = {**BALANCED, **UNBALANCED}
    assert what_is_heard(data) == {clip: name for clip, (name, _) in clips.items()}
    assert [row.nonzero()[0].tolist() for row in all_labels(data)] == [[COLUMNS[name]] for name, _ in clips.values()]
    assert what_is_heard(AudioSet(root=str(root)).split("test")) == {clip: name for clip, (name, _) in EVAL.items()}


def test_another_part_of_a_video_is_no_clip_of_it_and_is_shown(tmp_path: Path) -> None:
    root = write_audioset(tmp_path)
    path = root / "eval/testtesttes.wav"
    path.rename(path.with_name("testtesttes_0.000_10.000.wav"))
    message = r"testtesttes.wav: this clip .* \(found testtesttes_0.000_10.000.wav: another part of the video"
    with pytest.raises(DataNotFoundError, match=message):
        AudioSet(root=str(root)).split("test")
    fewer = AudioSet(root=str(root), missing="leave out").split("test")
    assert (all_ids(fewer), fewer.left_out) == (("_-_-_-_-_-_",), 1)


def test_names_that_are_not_known_are_shown_even_where_clips_may_be_left_out(tmp_path: Path) -> None:
    root = write_audioset(tmp_path, "{table}/clip-{start:.0f}.wav")
    with pytest.raises(DataNotFoundError, match=r"the clips there are called clip-10.wav, clip-50.wav\)"):
        AudioSet(root=str(root), missing="leave out").split("test")
    shutil.rmtree(root / "eval")
    (root / "eval").mkdir()
    with pytest.raises(DataNotFoundError, match=r"there are no clips at all"):
        AudioSet(root=str(root), missing="leave out").split("test")


def test_the_same_clip_in_two_folders_is_refused_and_in_two_formats_is_taken_once(tmp_path: Path) -> None:
    root = write_audioset(tmp_path)
    write_sound(root / "eval/testtesttes.mp3", "bell")
    assert heard(AudioSet(root=str(root)).split("test").clip(0, 0)[0]) == "tabla"
    write_sound(root / "eval/again/testtesttes.wav", "tabla")
    with pytest.raises(DataError, match=r"the same clip as .*; remove one of the two"):
        AudioSet(root=str(root)).split("test")


def test_companions_that_macos_leaves_are_no_clips(tmp_path: Path) -> None:
    companion = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(4000)
    root = write_audioset(tmp_path / "audioset", "{id}.wav")
    speech = write_speech_commands(tmp_path / "speech")
    folder = write_audio_folder(tmp_path / "folder")
    for path in [*root.rglob("*.wav"), *speech.rglob("*.wav"), *folder.rglob("*.ogg")]:
        path.with_name(f"._{path.name}").write_bytes(companion)
    (folder / "__MACOSX/train/bird").mkdir(parents=True)
    (folder / "__MACOSX/train/bird/0.ogg").write_bytes(companion)
    assert len(AudioSet(root=str(root)).split("test")) == 2
    with pytest.warns(DataWarning):
        train = SpeechCommands(root=str(speech)).split("train")
    assert len(train) == 4
    assert set(what_is_heard(train).values()) == {"bird", "bell"}
    assert len(AudioFolder(root=str(folder)).split("train")) == 2


@pytest.mark.parametrize("written", ['"/m/09x0r,/m/01qbl"', '"/m/09x0r, /m/01qbl"', '" /m/09x0r,  /m/01qbl "'])
@pytest.mark.parametrize("space", ["", " "])
def test_labels_are_read_with_and_without_spaces(tmp_path: Path, written: str, space: str) -> None:
    root = write_audioset(tmp_path)
    row = f",{space}".join(("testtesttes", "50.000", "60.000", written))
    (root / "eval_segments.csv").write_text(f"# YTID, start, end, labels\n{row}\n")
    assert labels_of(AudioSet(root=str(root)).split("test")) == [["Bird", "Cymbal"]]


def test_an_empty_label_and_a_clip_that_stands_twice_are_named(tmp_path: Path) -> None:
    root = write_audioset(tmp_path)
    table = root / "eval_segments.csv"
    whole = table.read_text()
    table.write_text(whole + 'testtesttes, 0.000, 10.000, "/m/09x0r,"\n')
    with pytest.raises(DataError, match=r"eval_segments.csv, line 6: an empty label in '/m/09x0r,'"):
        AudioSet(root=str(root)).split("test")
    table.write_text(whole + whole)
    with pytest.raises(DataError, match=r"the clip 'testtesttes' appears twice"):
        AudioSet(root=str(root)).split("test")


# Tables from spreadsheets (case 12) -----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [lambda t: "\ufeff" + t, lambda t: "\ufeff" + t.replace("\n", "\r\n")])
def test_a_byte_order_mark_and_other_line_ends_change_nothing(tmp_path: Path, change: Callable[[str], str]) -> None:
    audioset, esc50 = write_audioset(tmp_path / "a"), write_esc50(tmp_path / "e")
    before = AudioSet(root=str(audioset)).split("test"), ESC50(root=str(esc50)).split("train")
    for table in [*audioset.glob("*.csv"), esc50 / "meta/esc50.csv"]:
        table.write_bytes(change(table.read_text()).encode())
    after = AudioSet(root=str(audioset)).split("test"), ESC50(root=str(esc50)).split("train")
    for old, new in zip(before, after, strict=True):
        assert (old.classes, all_ids(old), all_labels(old).tolist()) == (
            new.classes,
            all_ids(new),
            all_labels(new).tolist(),
        )


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs")])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_other_separators_are_named(tmp_path: Path, separator: str, called: str, mark: str) -> None:
    root = write_esc50(tmp_path)
    table = root / "meta/esc50.csv"
    table.write_text(mark + table.read_text().replace(",", separator))
    with pytest.raises(DataError, match=rf"esc50.csv: its columns are separated by {called} \('.*'\), not by commas"):
        ESC50(root=str(root)).split("train")


def test_utf_16_is_named_and_a_missing_column_lists_those_there_are(tmp_path: Path) -> None:
    root = write_esc50(tmp_path)
    table = root / "meta/esc50.csv"
    text = table.read_text()
    table.write_text(text, encoding="utf-16")
    with pytest.raises(DataError, match=r"this is UTF-16, as spreadsheets write it; save it as CSV in UTF-8"):
        ESC50(root=str(root)).split("train")
    table.write_text(text.replace("filename", "file"))
    with pytest.raises(DataError, match=r"no column 'filename'; .* It has file, fold, target"):
        ESC50(root=str(root)).split("train")


# Speech Commands (cases 1, 10, 14) ------------------------------------------------------------------------------------

SPELLINGS = {
    "./": lambda file: f"./{file}",
    "back-slash": lambda file: file.replace("/", "\\"),
    "capital": lambda file: file.capitalize(),
    "two slashes": lambda file: file.replace("/", "//"),
    "the archive's folder": lambda file: f"speech_commands_v0.02/{file}",
    "the archive's folder on Windows": lambda file: f".\\speech_commands\\{file}".replace("/", "\\"),
    "spaces around": lambda file: f"  {file}  ",
    "Windows' line ends": lambda file: f"{file}\r",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.filterwarnings("ignore::fastast.data.training_set.DataWarning")
def test_no_spelling_of_a_list_puts_test_clips_into_training(tmp_path: Path, spelling: str) -> None:
    root = write_speech_commands(tmp_path)
    before = {split: all_ids(SpeechCommands(root=str(root)).split(split)) for split in ("train", "val", "test")}
    for table in root.glob("*_list.txt"):
        files = table.read_text().splitlines()
        table.write_bytes("\n".join(SPELLINGS[spelling](file) for file in files).encode())
    after = {split: all_ids(SpeechCommands(root=str(root)).split(split)) for split in ("train", "val", "test")}
    assert after == before
    assert {split: len(ids) for split, ids in after.items()} == {"train": 4, "val": 2, "test": 2}


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("yes/5_nohash_0.wav", r"yes/5_nohash_0.wav: this clip of testing_list.txt, line 3, is missing"),
        ("yes", r"testing_list.txt, line 3: 'yes': unknown word"),
        ("yess/1_nohash_0.wav", r"line 3: 'yess/1_nohash_0.wav': unknown word .* 'yess'. Did you mean 'yes'"),
        ("yes/0_nohash_0.wav", r"line 3: 'yes/0_nohash_0.wav' is already in .*testing_list.txt, line 1;"),
        (
            "./no/1_nohash_0.wav",
            r"line 3: 'no/1_nohash_0.wav' is already in .*validation_list.txt, line 2",
        ),
    ],
)
def test_a_line_that_is_no_clip_stops_every_split(tmp_path: Path, split: str, line: str, says: str) -> None:
    root = write_speech_commands(tmp_path)
    with (root / "testing_list.txt").open("a") as table:
        table.write(line)
    with pytest.raises(DataError, match=says):
        SpeechCommands(root=str(root)).split(split)


def test_version_1_is_named_for_what_it_is(tmp_path: Path) -> None:
    new = ("backward", "follow", "forward", "learn", "visual")
    root = write_speech_commands(tmp_path, tuple(word for word in WORDS if word not in new), clips=3)
    message = r"version 1 of Speech Commands \(30 words\): it lacks backward, follow, forward, learn, visual"
    for split in ("train", "test"):
        with pytest.raises(DataError, match=message):
            SpeechCommands(root=str(root)).split(split)


def test_words_without_clips_are_warned_of(tmp_path: Path) -> None:
    root = write_speech_commands(tmp_path, WORDS[:-1], clips=3)
    with pytest.warns(DataWarning, match=r"1 of the 35 words have no clip: zero"):
        SpeechCommands(root=str(root)).split("train")


@pytest.mark.filterwarnings("ignore::fastast.data.training_set.DataWarning")
def test_archives_unpacked_a_level_or_two_deeper_are_found(tmp_path: Path) -> None:
    write_speech_commands(tmp_path / "SpeechCommands/speech_commands_v0.02")
    assert len(SpeechCommands(root=str(tmp_path)).split("test")) == 2
    write_esc50(tmp_path / "ESC-50-master")
    assert len(ESC50(root=str(tmp_path)).split("test")) == 2
    write_speech_commands(tmp_path / "SpeechCommands/copy")
    with pytest.raises(DataError, match=r"SpeechCommands/copy and .* both hold testing_list.txt; name one of them"):
        SpeechCommands(root=str(tmp_path)).split("test")


# FSD50K (case 15) -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True])
def test_fsd50k_is_read_as_on_zenodo(tmp_path: Path, nested: bool) -> None:
    options = FSD50K(root=str(write_fsd50k(tmp_path / "FSD50K", nested=nested)))
    train, val, test = (options.split(name) for name in ("train", "val", "test"))
    assert train.classes == ("Bell", "Bird", "Percussion", "Tabla")
    assert train.task == "multi_label"
    assert (what_is_heard(train), labels_of(train)) == (
        {"64760": "bird", "16399": "tabla"},
        [["Bird"], ["Percussion", "Tabla"]],
    )
    assert (what_is_heard(val), labels_of(val)) == ({"16401": "bell"}, [["Bell"]])
    assert (what_is_heard(test), labels_of(test)) == ({"37199": "tabla"}, [["Percussion", "Tabla"]])
    assert len(FSD50K(root=str(tmp_path)).split("test")) == 1  # the folder above


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("dev.csv", "16401,Bell", "16401,Bel", r"dev.csv, line 4: label 'Bel' is not in .*vocabulary.csv"),
        ("dev.csv", ",val", ",valid", r"dev.csv, line 4: split is 'valid'; it must be train or val"),
        ("dev.csv", '"Tabla,Percussion"', "Tabla,Percussion", r"dev.csv, line 3: .* must be 4 values"),
        (
            "vocabulary.csv",
            "1,Bird",
            "2,Bird",
            r"vocabulary.csv, line 3: index 2 or label 'Percussion' already appears above",
        ),
        ("vocabulary.csv", "3,Tabla", "4,Tabla", r"vocabulary.csv: indices must be 0 to 3 without a gap"),
        ("vocabulary.csv", "3,Tabla,", "3,", r"vocabulary.csv, line 4: .* must be index, label, mid"),
        ("dev.csv", "64760", "64761", r"64761.wav: this clip of dev.csv is missing .*unpack all parts"),
    ],
)
def test_what_is_wrong_with_fsd50k_is_named(tmp_path: Path, file: str, old: str, new: str, says: str) -> None:
    root = write_fsd50k(tmp_path)
    table = root / "FSD50K.ground_truth" / file
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=says):
        FSD50K(root=str(root)).split("train")


# Lists of AST, tables and folders of one's own ------------------------------------------------------------------------


def test_asts_lists_from_another_machine_are_read(tmp_path: Path) -> None:
    root = write_ast_lists(tmp_path)
    options = ASTLists(root=str(root), train="datafiles/train.json", test="datafiles/eval.json")
    train, test = options.split("train"), options.split("test")
    assert list(what_is_heard(train).values()) == ["bird", "bell"]
    assert labels_of(train) == [["Bird"], ["Bell, small"]]
    assert (list(what_is_heard(test).values()), labels_of(test)) == (["tabla"], [["Tabla"]])
    shutil.move(root / "audio_16k", tmp_path / "elsewhere")
    with pytest.raises(
        DataNotFoundError,
        match=r"/data/sls/.*bird.flac: this clip of train.json is missing \(clips missing: 2 of 2\); .*data.audio=",
    ):
        options.split("train")
    moved = ASTLists(root=str(root), test="datafiles/eval.json", audio=str(tmp_path / "elsewhere"))
    assert list(what_is_heard(moved.split("test")).values()) == ["tabla"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1]", r'it must be \{"data": \['),
        ('{"data": []}', r'it must be \{"data": \['),
        ('{"data": [{"wav": "a.wav"}]}', r"eval.json, entry 0: .* must have \"wav\" and \"labels\""),
        ('{"data": [{"wav": "a.wav", "labels": "/m/x"}]}', r"eval.json, entry 0: label '/m/x' is not in the ontology"),
        ('{"data": [', r"not readable as JSON"),
        ("\udcff", r"not readable as JSON"),
    ],
)
def test_a_list_that_is_wrong_is_named_with_its_entry(tmp_path: Path, content: str, says: str) -> None:
    root = write_ast_lists(tmp_path)
    (root / "datafiles/eval.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=says):
        ASTLists(root=str(root), test="datafiles/eval.json").split("test")


TABLE = {"table": "all.csv", "file": "path", "label": "tags", "split_column": "part", "separator": "semicolon"}


def test_a_table_of_ones_own_is_read_by_its_columns(tmp_path: Path) -> None:
    root = str(write_table(tmp_path))
    options = Table(root=root, several=",", **TABLE)
    train = options.split("train")
    assert train.task == "multi_label"
    assert train.classes == ("animal", "bell", "bird", "cymbal", "drum")
    assert (list(what_is_heard(train).values()), labels_of(train)) == (["bird", "bell"], [["animal", "bird"], ["bell"]])
    assert labels_of(options.split("val")) == [["bell", "cymbal"]]
    assert labels_of(options.split("test")) == [["drum"]]
    named = Table(root=root, several=",", classes=("drum", "cymbal", "bell", "bird", "animal"), **TABLE).split("test")
    assert (named.classes[0], all_labels(named).tolist()) == ("drum", [[1, 0, 0, 0, 0]])


@pytest.mark.parametrize("ending", ["wav", "WAV"])
def test_endings_in_capitals_may_be_left_out_as_well(tmp_path: Path, ending: str) -> None:
    for name in ("bird", "bell"):
        (tmp_path / f"{name}.{ending}").write_bytes(encode(sounds()[name], 16_000, "WAV", "PCM_16"))
    (tmp_path / "all.csv").write_text("file,label\nbird,animal\nbell,metal\n")
    called, options = recognise_set(tmp_path)
    assert (called, what_is_heard(options.split("train"))) == ("table", {"bird": "bird", "bell": "bell"})


def test_a_table_for_each_split_with_one_label_a_clip(tmp_path: Path) -> None:
    root = write_table(tmp_path)
    (root / "train.csv").write_text("file,label\nclips/bird.mp3,bird\nclips/bell.mp3,bell\n")
    (root / "test.csv").write_text("file,label\nclips/tabla.mp3,bell\n")
    options = Table(root=str(root), train="train.csv", test="test.csv")
    assert (options.split("train").task, options.split("test").classes) == ("single_label", ("bell", "bird"))
    with pytest.raises(DataError, match=r"data: val is not given; name the table of that split: -s data.val=FILE.csv"):
        options.split("val")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("clips/tabla;", "clips/tablas;", r"clips/tablas: this clip of all.csv is missing .*data.missing"),
        ("clips/tabla;", "../tabla;", r"all.csv, line 5: path is '../tabla'; it must be a path below"),
        ("drum;test", "drum;tests", r"all.csv, line 5: part is 'tests'; it must be one of train, training"),
        ("drum;test", ";test", r"all.csv, line 5: an empty label in ''"),
        ("path;tags;part", "file;tags;part", r"all.csv: no column 'path'; .* It has file, tags, part"),
    ],
)
def test_what_is_wrong_with_a_table_is_named_with_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    root = write_table(tmp_path)
    table = root / "all.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=says):
        Table(root=str(root), several=",", **TABLE).split("test")


def test_the_separator_of_a_table_of_ones_own_is_named_where_it_is_another(tmp_path: Path) -> None:
    root = write_table(tmp_path)
    with pytest.raises(DataError, match=r"its columns are separated by semicolons"):
        Table(root=str(root), **{**TABLE, "separator": "comma"}).split("test")


def test_audio_folders_give_splits_and_classes_by_name(tmp_path: Path) -> None:
    options = AudioFolder(root=str(write_audio_folder(tmp_path)))
    for split in ("train", "val", "test"):
        data = options.split(split)
        assert (data.task, data.classes, labels_of(data)) == ("single_label", ("bell", "bird"), [["bell"], ["bird"]])
        assert list(what_is_heard(data).values()) == ["bell", "bird"]


def test_shares_of_a_folder_without_splits_are_set_apart_by_name(tmp_path: Path) -> None:
    root = write_audio_folder(tmp_path, splits=False)
    options = AudioFolder(root=str(root), val_share=0.25, test_share=0.25)
    splits = {split: set(all_ids(options.split(split))) for split in ("train", "val", "test")}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 40
    assert all(4 <= len(splits[split]) <= 16 for split in ("val", "test"))
    write_sound(root / "bird/new.ogg", "bird")
    assert all(splits[split] <= set(all_ids(options.split(split))) for split in splits)
    message = r"no clip is in the test split; splits found: train. .*data.test_share=0.1"
    with pytest.raises(DataNotFoundError, match=message):
        AudioFolder(root=str(root)).split("test")


def test_a_share_is_set_apart_of_the_train_folder_where_a_split_has_none(tmp_path: Path) -> None:
    for clip in range(20):
        write_sound(tmp_path / f"train/bird/{clip}.ogg", "bird")
    write_sound(tmp_path / "test/bird/0.ogg", "bird")
    options = AudioFolder(root=str(tmp_path), val_share=0.25)
    splits = {split: set(all_ids(options.split(split))) for split in ("train", "val", "test")}
    assert splits["train"] | splits["val"] == {f"train/bird/{clip}.ogg" for clip in range(20)}
    assert not splits["train"] & splits["val"]
    assert 1 <= len(splits["val"]) <= 10
    assert splits["test"] == {"test/bird/0.ogg"}
    with pytest.raises(DataError, match=r"test/ is its test split; leave data.test_share out"):
        AudioFolder(root=str(tmp_path), test_share=0.25).split("train")


def test_headers_may_be_in_capitals(tmp_path: Path) -> None:
    root = write_esc50(tmp_path)
    table = root / "meta/esc50.csv"
    expected = labels_of(ESC50(root=str(root)).split("test"))
    table.write_text(table.read_text().replace("filename,fold,target,category", "FILENAME,Fold,Target,Category"))
    assert labels_of(ESC50(root=str(root)).split("test")) == expected
    table.write_text(table.read_text().replace("FILENAME,Fold", "FILENAME,Fold,FOLD"))
    with pytest.raises(DataError, match=r"no column 'fold'"):  # which of the two?
        ESC50(root=str(root)).split("test")


@pytest.mark.parametrize(
    ("name", "content", "missing"),
    [
        ("clips.csv", "File,Label\nclips/bird.mp3,bird\nclips/bell.mp3,bell\n", []),
        ("labels.tsv", "path\tcategory\r\nclips/bird.mp3\tbird\r\nclips/bell.mp3\tbell\r\n", []),
        ("metadata.csv", "filename,label\nclips/bird.mp3,bird\nclips/bell.mp3,bell\n", []),
        (
            "all.csv",
            "\ufefffile,label\nclips/lost.mp3,bird\nclips/bird.mp3,bird\nclips/bell,bell\n",
            ["clips/lost.mp3"],
        ),
        ("train.csv", 'file,tags\nclips/bird.mp3,"animal, bird"\nclips/bell.mp3,animal\n', []),
        ("all.csv", "Part;File;Class\nTrain;clips\\bird.mp3;bird\nTRAIN;clips\\bell.mp3;bell\n", []),
    ],
)
def test_a_table_of_ones_own_is_recognised(tmp_path: Path, name: str, content: str, missing: list[str]) -> None:
    root = write_table(tmp_path)
    (root / "all.csv").unlink()
    (root / name).write_text(content, encoding="utf-8", newline="")
    found, options = recognise_set(root)
    assert found == "table"
    data: Any = without_refusals(options).split("train")
    assert list(data.missing) == missing
    assert list(what_is_heard(data).values()) == ["bird", "bell"]
    with pytest.raises(SplitNotFoundError):
        options.split("test")


@pytest.mark.parametrize(
    ("labels", "several", "classes"),
    [
        (('"Bell, small"', "Bird"), "", ("Bell, small", "Bird")),
        (('"Speech, man"', '"Bell, small"'), "", ("Bell, small", "Speech, man")),
        (('"Bell,Bird"', "Bird"), ",", ("Bell", "Bird")),
        (('"Bell, Bird"', '"Bird, Water"'), ",", ("Bell", "Bird", "Water")),
        (("Bell|Bird", "Bird"), "|", ("Bell", "Bird")),
        (('"Bell, small;Bird"', "Bird"), ";", ("Bell, small", "Bird")),
    ],
)
def test_a_comma_in_a_name_is_none_between_names(
    tmp_path: Path, labels: tuple[str, ...], several: str, classes: tuple[str, ...]
) -> None:
    root = write_table(tmp_path)
    (root / "all.csv").unlink()
    rows = "".join(f"clips/{clip}.mp3,{label}\n" for clip, label in zip(("bell", "bird"), labels, strict=True))
    (root / "all.csv").write_text(f"file,label\n{rows}")
    _, options = recognise_set(root)
    assert options.several == several  # type: ignore[attr-defined]
    assert options.split("train").classes == classes


def test_shares_of_a_table_that_says_no_splits_are_set_apart(tmp_path: Path) -> None:
    for clip in range(20):
        write_sound(tmp_path / f"{clip}.ogg", "bird")
    (tmp_path / "clips.csv").write_text("file,label\n" + "".join(f"{clip}.ogg,bird\n" for clip in range(20)))
    table = {"root": str(tmp_path), "test_share": 0.25}
    for given in ({"table": "clips.csv", "split_column": "none"}, {"train": "clips.csv"}):
        options = Table(**table, **given)
        splits = {split: set(all_ids(options.split(split))) for split in ("train", "test")}
        assert splits["train"] | splits["test"] == {f"{clip}.ogg" for clip in range(20)}
        assert not splits["train"] & splits["test"]
        with pytest.raises(SplitNotFoundError, match=r"val"):
            options.split("val")
    for given, says in (({"test": "clips.csv"}, "data.test"), ({"table": "clips.csv"}, "data.split_column")):
        with pytest.raises(DataError, match=rf"test_share sets clips apart, and {says} says which they are"):
            Table(**table, **given)


FOLDS = {"table": "clips.csv", "split_column": "fold"}


def write_folds(root: Path, folds: Sequence[object]) -> Path:
    for clip in range(len(folds)):
        write_sound(root / f"{clip}.ogg", "bird")
    rows = "".join(f"{clip}.ogg,bird,{fold}\n" for clip, fold in enumerate(folds))
    (root / "clips.csv").write_text(f"file,label,fold\n{rows}")
    return root


@pytest.mark.parametrize("one", [1, "1", " 1 "])
def test_folds_of_a_table_are_tested_and_validated_on_and_the_others_trained_on(tmp_path: Path, one: object) -> None:
    root = str(write_folds(tmp_path, [1, 2, 10, 1, " 3 "]))
    options = Table(root=root, **FOLDS, test_folds=(one,), val_folds=("3",))
    found = {split: set(all_ids(options.split(split))) for split in ("train", "val", "test")}
    assert found == {"train": {"1.ogg", "2.ogg"}, "val": {"4.ogg"}, "test": {"0.ogg", "3.ogg"}}


def test_a_table_with_folds_is_recognised_and_tested_on_the_first(tmp_path: Path) -> None:
    name, options = recognise_set(write_folds(tmp_path, [10, 9, 10, 9]))
    assert (name, options) == ("table", Table(root=str(tmp_path), **FOLDS, test_folds=("9",)))


def test_folds_of_tables_that_are_called_train_and_test_do_not_part_them(tmp_path: Path) -> None:
    root = write_folds(tmp_path, [1, 2, 1])
    lines = (root / "clips.csv").read_text().splitlines(keepends=True)
    (root / "clips.csv").unlink()
    (root / "train.csv").write_text("".join(lines[:3]))
    (root / "test.csv").write_text("".join((lines[0], lines[3])))
    assert recognise_set(root) == ("table", Table(root=str(root), train="train.csv", test="test.csv"))


def test_clips_to_validate_on_are_drawn_from_folds_that_are_neither(tmp_path: Path) -> None:
    root = str(write_folds(tmp_path, [clip % 4 + 1 for clip in range(40)]))
    options = Table(root=root, **FOLDS, test_folds=(1,), val_share=0.3)
    found = {split: set(all_ids(options.split(split))) for split in ("train", "val", "test")}
    assert found["test"] == {f"{clip}.ogg" for clip in range(0, 40, 4)}
    assert 3 <= len(found["val"]) <= 15  # of 30
    assert found["train"] == {f"{clip}.ogg" for clip in range(40)} - found["test"] - found["val"]
    with pytest.raises(SplitNotFoundError, match=r"no clip is in the val split; name its folds, -s data.val_folds="):
        Table(root=root, **FOLDS, test_folds=(1,)).split("val")
    with pytest.raises(DataError, match=r"test_share sets clips apart, and data.test_folds says which they are"):
        Table(root=root, **FOLDS, test_folds=(1,), test_share=0.3)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"test_folds": (7,)},
            r"csv, column fold: no clip is in fold 7, which data.test_folds names; the folds are 1, 2, 10",
        ),
        ({"test_folds": (1,), "val_folds": ("1",)}, r"fold 1 is in test_folds and in val_folds"),
        ({"test_folds": (1,), "split_column": "none"}, r"test_folds needs the table and the column"),
        ({"val_folds": (1,), "table": "", "train": "clips.csv"}, r"val_folds needs the table and the column"),
        ({"test_folds": 1}, r"test_folds is 1; it must be a list of folds, such as \[1\]"),
        ({"test_folds": (True,)}, r"test_folds is \(True,\); it must be a list of folds"),
        (
            {},
            r"line 2: fold is '10'; .*; if it is the fold, say which to test on: -s test_folds=\[10\]",
        ),
    ],
)
def test_folds_that_cannot_be_are_refused(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    root = str(write_folds(tmp_path, [10, 1, 2]))
    with pytest.raises(DataError, match=says):
        Table(root=root, **FOLDS | given).split("test")


def test_a_clip_of_no_fold_is_refused(tmp_path: Path) -> None:
    root = str(write_folds(tmp_path, [1, "", 2]))
    with pytest.raises(DataError, match=r"clips.csv, line 3: fold is empty; it must give the clip's fold"):
        Table(root=root, **FOLDS, test_folds=(1,)).split("train")


def test_metadata_files_of_audio_folders_are_read(tmp_path: Path) -> None:
    for name in sounds():
        write_sound(tmp_path / f"train/{name}.flac", name)
        write_sound(tmp_path / f"test/a/{name}.flac", name)
    (tmp_path / "train/metadata.csv").write_text("file_name,label\nbird.flac,animal\ntabla.flac,drum\n")
    (tmp_path / "test/metadata.jsonl").write_text(
        '{"file_name": "a/bell.flac", "label": ["drum", "bell"]}\n\n{"file_name": "a/bird.flac", "label": ["animal"]}\n'
    )
    options = AudioFolder(root=str(tmp_path))
    assert labels_of(options.split("train")) == [["animal"], ["drum"]]
    assert list(what_is_heard(options.split("test")).values()) == ["bell", "bird"]
    assert labels_of(options.split("test")) == [["bell", "drum"], ["animal"]]
    (tmp_path / "test/metadata.jsonl").write_text('{"file_name": "a/no.flac", "label": "x"}\n')
    with pytest.raises(DataNotFoundError, match=r"metadata.jsonl, line 1: .*no.flac: this clip is missing"):
        options.split("test")


@pytest.mark.parametrize("name", ["/etc/passwd.wav", "../test/a/bell.flac", "a/../../x.flac"])
def test_a_metadata_file_does_not_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    write_sound(tmp_path / "test/a/bell.flac", "bell")
    write_sound(tmp_path / "train/bird.flac", "bird")
    (tmp_path / "train/metadata.csv").write_text(f"file_name,label\n{name},animal\n")
    with pytest.raises(DataError, match=r"metadata.csv, line 2: file_name is .* it must be a path below \S*train$"):
        AudioFolder(root=str(tmp_path)).split("train")


def test_a_class_that_is_called_like_a_split_is_a_class(tmp_path: Path) -> None:
    for name in ("dog", "train", "rain"):
        write_sound(tmp_path / name / "0.wav", "bird")
    assert AudioFolder(root=str(tmp_path)).split("train").classes == ("dog", "rain", "train")
    write_sound(tmp_path / "test/0.wav", "bird")
    with pytest.raises(DataError, match=r"is this a class, or not part of the data\? Next to it are .*\(test, train\)"):
        AudioFolder(root=str(tmp_path)).split("train")


def test_links_that_lead_in_a_circle_end_and_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    root = write_audio_folder(tmp_path / "root", splits=False)
    write_sound(tmp_path / "disk/bell/linked.ogg", "bell")
    (root / "bell/more").symlink_to(tmp_path / "disk/bell")
    (root / "bird/loop").symlink_to(root)
    (root / "bird/self.ogg").symlink_to("self.ogg")
    (root / "bird/lost.ogg").symlink_to("nowhere.ogg")
    os.mkfifo(root / "bird/pipe.ogg")
    data = AudioFolder(root=str(root)).split("train")
    assert len(data) == 41
    assert "bell/more/linked.ogg" in all_ids(data)
    assert data.missing == ("bird/lost.ogg", "bird/self.ogg")


def test_links_to_clips_that_were_not_fetched_are_clips_that_are_not_there(tmp_path: Path) -> None:
    root = write_audio_folder(tmp_path / "root")
    for split, name in (("train", "tabla"), ("test", "bird"), ("test", "bell")):
        (root / split / name).mkdir(exist_ok=True)
        shutil.rmtree(root / split / name)
        (root / split / name).mkdir()
        (root / split / name / "0.ogg").symlink_to("../../.git/annex/objects/MD5E-s1--00.ogg")
    options = AudioFolder(root=str(root))
    train = options.split("train")
    assert (len(train), train.missing) == (2, ("train/tabla/0.ogg",))
    assert train.classes == ("bell", "bird", "tabla")  # whatever has been fetched
    with pytest.raises(
        SplitNotFoundError, match=r"bell/0.ogg: this clip of root is missing, as are all the others \(2 in all\); fetch"
    ):
        options.split("test")


@pytest.mark.parametrize(("ending", "kind"), [("aifc", "AIFF"), ("sph", "NIST"), ("VOC", "VOC"), ("rf64", "RF64")])
def test_clips_of_rarer_kinds_are_not_passed_over(tmp_path: Path, ending: str, kind: str) -> None:
    write_audio_folder(tmp_path)
    (tmp_path / f"train/bird/9.{ending}").write_bytes(encode(sounds()["tabla"], 16_000, kind, "PCM_16"))
    assert what_is_heard(AudioFolder(root=str(tmp_path)).split("train"))[f"train/bird/9.{ending}"] == "tabla"


# Shards ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_per_group", [1, 2, 100])
def test_parquet_of_the_hub_is_read(tmp_path: Path, rows_per_group: int) -> None:
    pytest.importorskip("pyarrow")
    root = str(write_parquet(tmp_path, rows_per_group=rows_per_group))
    with pytest.raises(
        DataError,
        match=r"could be data/bal_train/\* or data/unbal_train/\*; say which: -s data.train=data/bal_train/\*$",
    ):
        Parquet(root=root).split("train")
    train = Parquet(root=root, train=("data/bal_train/*",)).split("train")
    assert what_is_heard(train) == {clip: name for clip, (name, _) in BALANCED.items()}
    assert (train.task, labels_of(train)) == ("multi_label", [["Bird"], ["Bell, small"]])
    test = Parquet(root=root).split("test")
    assert what_is_heard(pickle.loads(pickle.dumps(test))) == {clip: name for clip, (name, _) in EVAL.items()}
    assert all_ids(Parquet(root=root).split("val")) == all_ids(test)
    assert train.name(1).endswith("bal_train/00.parquet, row 1 (Yxyzxyzxyzx)")


def test_parquet_with_named_numbers_as_labels_is_read(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import json

    import pyarrow.parquet as pq

    described = {"info": {"features": {"category": {"names": ["drum", "animal"], "_type": "ClassLabel"}}}}
    table = pa.table(
        {
            "file": ["a.wav", "b.wav"],
            "audio": [{"bytes": encode(sounds()[n], 16_000, "WAV", "PCM_16"), "path": None} for n in ("bird", "tabla")],
            "category": [1, 0],
        }
    ).replace_schema_metadata({"huggingface": json.dumps(described)})
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data/test-00000-of-00001.parquet")
    data = Parquet(root=str(tmp_path), id="file", label="category").split("test")
    assert (data.task, data.classes, labels_of(data)) == ("single_label", ("drum", "animal"), [["animal"], ["drum"]])
    assert what_is_heard(data) == {"a.wav": "bird", "b.wav": "tabla"}
    with pytest.raises(DataError, match=r"no column 'video_id'; it has file, audio, category. Say which: -s data.id="):
        Parquet(root=str(tmp_path)).split("test")


def test_shards_of_parquet_that_count_their_classes_in_different_ways_are_read_by_name(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write_shard(tmp_path / "train-0.parquet", {"bird": "animal", "bell": "metal"}, ["animal", "drum", "metal"])
    write_shard(tmp_path / "train-1.parquet", {"cymbal": "metal", "tabla": "drum"}, ["drum", "metal"])
    write_shard(tmp_path / "test-0.parquet", {"cymbal": "metal", "bird": "animal"}, ["metal", "animal"])
    options = Parquet(root=str(tmp_path), id="id", label="label")
    train, test = options.split("train"), options.split("test")
    assert labels_of(train) == [["animal"], ["metal"], ["metal"], ["drum"]]
    assert labels_of(test) == [["metal"], ["animal"]]
    assert train.classes == test.classes == ("animal", "drum", "metal")


def test_a_number_without_a_name_is_no_label(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    write_shard(tmp_path / "test-0.parquet", {"bird": "animal", "tabla": "drum"}, ["animal", "drum"])
    table = pq.read_table(tmp_path / "test-0.parquet")
    pq.write_table(table.set_column(2, "label", pa.array([1, -1])), tmp_path / "test-0.parquet")
    with pytest.raises(DataError, match=r"test-0.parquet, row 1: label is -1, which is not a class of"):
        Parquet(root=str(tmp_path), id="id", label="label").split("test")


@pytest.mark.parametrize("file", [None, "audio.wav"])
def test_clips_of_parquet_that_have_no_names_of_their_own_are_called_after_shard_and_row(
    tmp_path: Path, file: str | None
) -> None:
    pytest.importorskip("pyarrow")
    write_shard(tmp_path / "data/train-0.parquet", {"bird": "animal", "bell": "metal"}, ["animal", "metal"], file)
    write_shard(tmp_path / "data/train-1.parquet", {"cymbal": "metal"}, ["animal", "metal"], file)
    data = Parquet(root=str(tmp_path), id="", label="label").split("train")
    assert what_is_heard(data) == {
        "data/train-0.parquet:0": "bird",
        "data/train-0.parquet:1": "bell",
        "data/train-1.parquet:0": "cymbal",
    }


@pytest.mark.parametrize("packed", [False, True])
def test_hdf5_of_panns_and_passt_is_read(tmp_path: Path, packed: bool) -> None:
    pytest.importorskip("h5py")
    options = HDF5(root=str(write_hdf5(tmp_path, packed=packed)))
    train, test = options.split("train"), options.split("test")
    assert what_is_heard(train) == {clip: name for clip, (name, _) in BALANCED.items()}
    assert labels_of(train) == [["Bird"], ["Bell, small"]]
    assert what_is_heard(pickle.loads(pickle.dumps(test))) == {clip: name for clip, (name, _) in EVAL.items()}
    assert train.left_out == (0 if packed else 1)  # the row that PANNs leaves empty
    assert len(train.clip(0, 0)[0]) in (16_000, 16_000 + 1152)


def test_names_that_could_both_be_a_split_come_with_a_pattern_that_tells_them_apart(tmp_path: Path) -> None:
    """Shards of `proof` and of `pr` are not one set, though both end in letters of `of`."""
    names = ["train_proof-000-of-002.h5", "train_proof-001-of-002.h5", "train_pr-000.h5", "train_pr.h5"]
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(
        DataError, match=r"could be train_pr-\*.h5 or train_pr.h5 or train_proof-\*.h5; say which: "
    ) as said:
        find_shards(tmp_path, "train", (), ["h5"])
    pattern = str(said.value).rpartition("-s data.train=")[2]
    assert [path.name for path in find_shards(tmp_path, "train", [pattern], ["h5"])] == ["train_pr-000.h5"]
    for name in names[2:]:
        (tmp_path / name).unlink()
    assert [path.name for path in find_shards(tmp_path, "train", (), ["h5"])] == names[:2]


def test_more_shards_than_a_process_may_open_are_read(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.clips" for number in range(300)]
    for path in paths:
        path.write_text(path.name)
    opened = OpenFiles(lambda path: io.FileIO(path))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 200, limits[1]))
    try:
        for path in [*paths, *paths]:
            assert os.pread(opened(path).fileno(), 100, 0) == path.name.encode()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_shards_that_are_damaged_or_of_another_kind_are_named(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("pyarrow")
    write_hdf5(tmp_path)
    with h5py.File(tmp_path / "eval.h5", "w") as file:
        file["logmel"] = [1.0]
    with pytest.raises(DataError, match=r"^\S*eval.h5: no dataset 'audio_name' in it; it must have"):
        HDF5(root=str(tmp_path)).split("test")
    (tmp_path / "eval.h5").write_bytes(b"no")
    with pytest.raises(DataError, match=r"eval.h5: not readable as HDF5"):
        HDF5(root=str(tmp_path)).split("test")
    (tmp_path / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"test.parquet: not readable as Parquet"):
        Parquet(root=str(tmp_path)).split("test")
    with pytest.raises(DataNotFoundError, match=r"no file is named after the split train; .*-s data.train=PATTERN"):
        Parquet(root=str(tmp_path)).split("train")


def test_names_of_columns_that_hold_lines_are_told_in_one(tmp_path: Path) -> None:
    (tmp_path / "class_labels_indices.csv").write_text('"in\ndex",mid,display_name\n0,/m/09x0r,Bird\n')
    with pytest.raises(DataError, match=r"no column 'index'; .* It has 'in.{2,3}dex', mid, display_name$"):
        read_ontology(tmp_path / "class_labels_indices.csv")


@pytest.mark.parametrize("rate", [0, 2**40])
def test_hdf5_at_a_rate_that_no_recording_has_is_refused(tmp_path: Path, rate: int) -> None:
    h5py = pytest.importorskip("h5py")
    clips = HDF5(root=str(write_hdf5(tmp_path)))
    with h5py.File(tmp_path / "eval.h5", "a") as file:
        file.attrs["sample_rate"] = rate
    with pytest.raises(AudioError, match=rf"eval.h5, row 0 .*its header claims {rate:,} samples per second"):
        clips.split("test").clip(0, 0)


def test_parquet_whose_pages_are_damaged_is_named_when_it_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    shard = write_parquet(tmp_path) / "data" / "eval" / "00.parquet"
    content = shard.read_bytes()
    clips = Parquet(root=str(tmp_path)).split("test")
    # Pages come first, what tells of them last: the file opens, and its rows cannot be read.
    half = len(content) // 2
    shard.write_bytes(bytes(half) + content[half:])
    with pytest.raises(DataError, match=r"00.parquet: not readable as Parquet; fetch it again. Arrow says: [^\n]*$"):
        clips.clip(0, 0)


@pytest.mark.parametrize("path", ["../../elsewhere.wav", "/elsewhere.wav"])
def test_parquet_that_names_a_file_elsewhere_does_not_have_it_read(tmp_path: Path, path: str) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    write_sound(tmp_path / "elsewhere.wav", "bird")
    write_sound(tmp_path / "set" / "data" / "inside.wav", "bird")
    named = [path.replace("/elsewhere", f"{tmp_path}/elsewhere") if path[0] == "/" else path, "inside.wav"]
    audio = [{"bytes": None, "path": one} for one in named]
    table = pa.table({"video_id": ["a", "b"], "audio": audio, "labels": [["x"], ["y"]]})
    pq.write_table(table, tmp_path / "set" / "data" / "test.parquet")
    clips = Parquet(root=str(tmp_path / "set")).split("test")
    with pytest.raises(DataError, match=r"row 0 \(a\): its audio is a file elsewhere"):
        clips.clip(0, 0)
    assert heard(clips.clip(1, 0)[0]) == "bird"


def test_a_row_of_parquet_without_audio_costs_that_row_alone(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    from fastast.data.caching.making import make_cache
    from fastast.data.checking.check import check_set

    sound = write_sound(tmp_path / "sound.wav", "bird").read_bytes()
    audio = [{"bytes": sound, "path": "a.wav"}, {"bytes": None, "path": None}, {"bytes": None, "path": "gone.wav"}]
    table = pa.table({"video_id": ["a", "b", "c"], "audio": audio, "labels": [["x"], ["y"], ["y"]]})
    (tmp_path / "set").mkdir()
    pq.write_table(table, tmp_path / "set" / "test.parquet")
    options = Parquet(root=str(tmp_path / "set"), test=("test.parquet",))
    clips = check_set("parquet", options, splits=("test",)).splits["test"]
    assert clips.clips - len(clips.faults["unreadable"]) == 1
    none, gone = clips.faults["unreadable"]
    assert "row 1 (b): audio is {'bytes': None, 'path': None}, neither encoded audio nor the path" in none
    assert "row 2 (c): its audio is the file " in gone
    assert "gone.wav, which does not exist" in gone
    assert make_cache("parquet", options, tmp_path / "cache", splits=("test",)).skipped == (none, gone)


def test_ids_do_not_depend_on_the_layout(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    pytest.importorskip("pyarrow")
    layouts = (
        AudioSet(root=str(write_audioset(tmp_path / "a", NAMES["PANNs, in parts"]))),
        AudioSet(root=str(write_audioset(tmp_path / "b", NAMES["CED"]))),
        Parquet(root=str(write_parquet(tmp_path / "c"))),
        HDF5(root=str(write_hdf5(tmp_path / "d"))),
        HDF5(root=str(write_hdf5(tmp_path / "e", packed=True))),
    )
    assert {all_ids(layout.split("test")) for layout in layouts} == {tuple(EVAL)}
    assert {tuple(map(tuple, labels_of(layout.split("test")))) for layout in layouts} == {(("Tabla",), ("Bird",))}
    assert set(MIDS) == set(sounds())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": np.zeros(3, np.uint8)}, r"targets of \(\) classes"),
        ({"waveform": np.zeros((1, 32_000), np.int16)}, r"3 names, but 3 targets and 1 of waveform"),
    ],
)
def test_hdf5_whose_parts_do_not_fit_together_is_said(tmp_path: Path, change: dict, message: str) -> None:
    h5py = pytest.importorskip("h5py")
    write_hdf5(tmp_path)
    with h5py.File(tmp_path / "eval.h5", "r+") as file:
        count = len(file["audio_name"])
        for name, values in change.items():
            del file[name]
            file[name] = np.resize(values, (count, *values.shape[1:])) if name == "target" else values
    with pytest.raises(DataError, match=message.replace("3", str(count))):
        HDF5(root=str(tmp_path)).split("test")


@pytest.mark.parametrize("name", ["audios/Y--4gqARaEJE.wav", "audios/Y--4gqARaEJE", "Y--4gqARaEJE", "--4gqARaEJE.wav"])
def test_hdf5_ids_leave_out_folder_ending_and_the_y_of_panns(name: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    write_hdf5(tmp_path)
    with h5py.File(tmp_path / "eval.h5", "r+") as file:
        del file["audio_name"]
        file["audio_name"] = [name.encode(), b"", b""]
    assert HDF5(root=str(tmp_path)).split("test").id(0) == "--4gqARaEJE"


@pytest.mark.parametrize("value", ["mix", ("a", ""), 3])
def test_lists_of_strings_in_options_are_lists_of_strings(value: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^data: train is .*; it must be a list of strings$"):
        HDF5(root=str(write_hdf5(tmp_path)), train=value).split("train")
