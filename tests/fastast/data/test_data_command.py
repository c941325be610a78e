"""`fastast data check`, `cache` and `stats` on data sets in miniature, sound and bad."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts import (
    write_ast_lists,
    write_audio_folder,
    write_audioset,
    write_bad_esc50,
    write_esc50,
    write_fsd50k,
    write_hdf5,
    write_parquet,
    write_shard,
    write_speech_commands,
    write_table,
)
from sound_files import by_ffmpeg, encode, sounds, write_sound
from typer.testing import CliRunner

from bench.sweep.config import DataConfig
from bench.sweep.data import resolve_data
from fastast import AudioSpectrogramTransformer, save_checkpoint
from fastast.cli import app
from fastast.data.augment import Augmentation
from fastast.data.caching import files, making, shard_maker
from fastast.data.caching.cache import Cache
from fastast.data.caching.making import make_cache
from fastast.data.checking.check import FAULTS
from fastast.data.layouts.esc50 import ESC50
from fastast.data.layouts.parquet import Parquet
from fastast.data.parallel import each
from fastast.data.sampling import all_labels, in_order, load_batches
from fastast.data.training_set import DataError, SplitNotFoundError, all_ids, read_clip
from fastast.frontend import Frontend, Normalisation
from fastast.geometry import Geometry
from fastast.system.writing import write_whole
from fastast.training.recipe.file import load_recipe

LAYOUTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "audioset": ("audioset", lambda root: write_audioset(root, "audios/{table}_segments/Y{id}.wav")),
    "esc50": ("esc50", lambda root: write_esc50(root / "ESC-50-master").parent),
    "fsd50k": ("fsd50k", write_fsd50k),
    "speech_commands": ("speech_commands", lambda root: write_speech_commands(root / "speech_commands_v0.02").parent),
    "ast_lists": ("ast_lists", write_ast_lists),
    "table": ("table", write_table),
    "audio_folder": ("audio_folder", write_audio_folder),
    "parquet": ("parquet", write_parquet),
    "hdf5": ("hdf5", write_hdf5),
}
UNTRAINED = {
    **{key: ["Tabla"] for key in ("audioset", "parquet", "hdf5", "ast_lists")},
    "fsd50k": ["Bell"],
    "table": ["cymbal", "drum"],
}
"""Classes that only the test split has a clip of."""


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def checked(root: Path, *options: object) -> dict[str, Any]:
    result = run("check", root, "--json", "--quiet", "--processes", 1, *options)
    assert not isinstance(result.exception, ValueError | OSError), result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore::fastast.data.training_set.DataWarning")
def test_check_knows_every_layout_and_suggests_what_runs(tmp_path: Path, layout: str) -> None:
    name, write = LAYOUTS[layout]
    found = checked(write(tmp_path))
    assert found["data_set"] == name
    lost = [split["faults"] for split in found["splits"].values() if split["faults"]]
    assert lost == ([{"missing": ["balanced_train.h5, row 2: not there"]}, {"missing": ["eval.h5, row 2: not there"]}]
                    if layout == "hdf5" else [])  # fmt: skip
    assert found["untrained"] == UNTRAINED.get(layout, [])
    assert found["sound"] is not bool(lost or found["untrained"])
    data = {split: load_data(command, split) for command in found["suggestions"] for split in ("train", "test")}
    for split, set_ in data.items():
        assert len(set_) == found["splits"][split]["clips"]
        assert all_labels(set_).sum(0).tolist() == list(found["splits"][split]["labels"].values())
    assert len(found["suggestions"]) == 2
    sweep = DataConfig(**tomllib.loads(found["sweep"])["data"])
    assert (sweep.dataset, all_ids(sweep.build().split("test"))) == (name, all_ids(data["test"]))


def load_data(command: str, split: str) -> Any:
    """Open the data of a suggested `fastast` command."""
    words = shlex.split(command.partition(":")[2])
    assert words[0] == "fastast"
    recipe = words[words.index("--set") - 1]
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    return load_recipe(recipe, settings).data.options.split(split)


def only_train(root: Path, clips: int = 1) -> Path:
    """An audio folder with the split train and no other, and so many clips of each class."""
    shutil.rmtree(write_audio_folder(root) / "test")
    shutil.rmtree(root / "validation")
    for clip in range(1, clips):
        for name in ("bird", "bell"):
            write_sound(root / f"train/{name}/{clip}.ogg", name)
    return root


def test_a_split_that_a_set_does_not_have_is_no_fault_of_its_clips(tmp_path: Path) -> None:
    root = only_train(tmp_path / "set", clips=20)
    result = run("check", root, "-q", "--processes", 1)
    assert result.exit_code == 0, result.output
    assert "test: not there: " in result.output
    assert "no clip is in the test split; splits found: train" in result.output
    found = checked(root)
    assert found["suggestions"][0].endswith("--split train")
    assert found["suggestions"][1].endswith("--set data.val_share=0.1 --set data.test_share=0.1")
    assert 'split = "train"' in found["sweep"]
    asked = run("check", root, "-q", "--split", "test")
    assert asked.exit_code == 1  # by name
    whole = write_audioset(tmp_path / "audioset")
    shutil.rmtree(whole / "balanced_train")
    lost = run("check", whole, "-q", "--processes", 1, "-s", "subset=balanced")
    assert lost.exit_code == 1  # its tables name clips
    assert "train: " in lost.output
    assert "this clip of balanced_train_segments.csv is missing, as are all the others (2 in all)" in lost.output


def test_a_cache_holds_the_splits_that_there_are(tmp_path: Path) -> None:
    root, out = only_train(tmp_path / "set"), tmp_path / "cache"
    result = run("cache", root, "--out", out, "-q", "--processes", 1)
    assert result.exit_code == 0, result.output
    assert "not there: test: " in result.output
    assert len(Cache(root=str(out)).split("train")) == 2
    with pytest.raises(DataError, match=r"the cache has no split test; it has train"):
        Cache(root=str(out)).split("test")
    assert run("check", out, "-q", "--processes", 1).exit_code == 0
    asked = run("cache", root, "--out", tmp_path / "other", "-q", "--split", "test")
    assert asked.exit_code == 1
    assert "no clip is in the test split" in asked.output
    assert not (tmp_path / "other").exists()
    again = run("cache", root, "--out", out, "-q", "--json", "--processes", 1)  # goes on
    assert json.loads(again.stdout)["kept"] == 1


def test_a_clip_that_is_lost_stops_a_cache_and_makes_no_split_absent(tmp_path: Path) -> None:
    root = write_esc50(tmp_path / "set")
    next((root / "audio").glob("2-*")).unlink()
    result = run("cache", root, "--out", tmp_path / "cache", "-q")
    assert result.exit_code == 1
    assert "this clip of esc50.csv is missing" in result.output


def test_check_names_and_counts_every_fault(tmp_path: Path) -> None:
    expected = write_bad_esc50(tmp_path)
    result = run("check", tmp_path, "--json", "--quiet", "--processes", 2)
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    test = found["splits"]["test"]
    seen: dict[str, str] = {}
    for kind, clips in {**test["faults"], **test["notes"]}.items():
        seen |= {clip.split(":")[0].rpartition("/")[2]: kind for clip in clips}
    assert seen == {name: kind for name, kind in expected.items() if kind}
    assert test["rates"] == {"16000": 6, "8000": 1, "96000": 1}
    assert test["channels"] == {"1": 7, "2": 1}
    assert test["codecs"] == {"WAV PCM_16": 5, "MP3 MPEG_LAYER_III": 1, "WAV ULAW": 1, "WAV PCM_24": 1}
    assert found["splits"]["train"]["faults"] == {}
    assert found["val_is_test"]
    text = run("check", tmp_path, "--quiet", "--processes", 1).output
    assert "unreadable: 3" in text
    assert "empty.wav: the file is empty (0 bytes)" in text
    assert "problems found" in text
    assert "data.missing=leave out" in text


def test_check_of_a_sound_set_has_exit_code_0_and_reads_only_what_is_asked_for(tmp_path: Path) -> None:
    write_bad_esc50(tmp_path)
    result = run("check", tmp_path, "--quiet", "--split", "train", "--json")
    assert (result.exit_code, list(json.loads(result.stdout)["splits"])) == (0, ["train"])


def test_check_finds_clips_in_two_splits_and_the_same_audio_under_two_names(tmp_path: Path) -> None:
    root = write_audio_folder(tmp_path)
    found = checked(root)
    assert not found["same_audio"]
    shutil.copy(root / "train/bird/0.ogg", root / "test/bird/1.ogg")
    found = checked(root)
    assert ["train train/bird/0.ogg", "test test/bird/1.ogg"] in found["same_audio"]
    (root / "all.csv").write_text("file,label,split\ntest/bird/0.ogg,bird,train\ntest/bird/0.ogg,bird,test\n")
    found = checked(root, "--name", "table", "--set", "table=all.csv")
    assert found["in_two_splits"] == {"train and test": ["test/bird/0.ogg"]}
    assert not found["sound"]


def test_audio_that_stands_in_two_splits_with_other_labels_is_a_problem(tmp_path: Path) -> None:
    root = write_audio_folder(tmp_path)
    shutil.copy(root / "train/bird/0.ogg", root / "test/bell/1.ogg")
    found = checked(root)
    assert (found["sound"], found["splits_in_train"]) == (False, [])
    assert found["other_labels"] == [["train train/bird/0.ogg (bird)", "test test/bell/1.ogg (bell)"]]
    result = run("check", root, "-q", "--processes", 1)
    assert result.exit_code == 1
    assert "the same audio in two splits with other labels: 1 clip\n" in result.output


def test_some_audio_in_two_splits_is_a_warning_and_a_whole_split_a_problem(tmp_path: Path) -> None:
    root = write_audio_folder(tmp_path)
    shutil.copy(root / "train/bird/0.ogg", root / "test/bird/0.ogg")
    some = run("check", root, "-q", "--processes", 1)
    assert some.exit_code == 0, some.output
    assert "the same audio in two splits: 1 clip\n" in some.output
    shutil.copy(root / "train/bell/0.ogg", root / "test/bell/0.ogg")
    whole = run("check", root, "-q", "--processes", 1)
    assert whole.exit_code == 1
    assert "all audio of test is in train too" in whole.output
    assert "problems found: those named above drop clips or bias results" in whole.output


def test_a_class_without_a_clip_to_train_on_is_a_problem(tmp_path: Path) -> None:
    root = write_audio_folder(tmp_path)
    shutil.rmtree(root / "train/bird")
    result = run("check", root, "-q", "--processes", 1)
    assert result.exit_code == 1
    assert "\n1 class without a clip to train on: bird\n" in result.output
    assert "1 in all; 1 of each class; 1 class without a clip: bird" in result.output
    assert run("check", root, "-q", "--processes", 1, "--split", "test").exit_code == 0


def test_a_training_is_suggested_only_where_its_data_can_be_opened(tmp_path: Path) -> None:
    few = only_train(tmp_path / "few")
    assert checked(few)["suggestions"][1] == "train a model:    not yet, as there are no clips for val and test"
    more = checked(only_train(tmp_path / "more", clips=6))["suggestions"][1]
    assert len({load_data(more, split).id(0) for split in ("train", "val", "test")}) == 3
    given = checked(tmp_path / "more", "-s", "val_share=0.01")["suggestions"][1]
    assert given.count("data.val_share") == 1
    assert len(load_data(given, "val"))


def test_no_share_is_suggested_for_a_table_whose_column_says_the_splits(tmp_path: Path) -> None:
    for name in ("bird", "bell"):
        for split in ("train", "test"):
            write_sound(tmp_path / f"{split}_{name}.ogg", name)
    rows = [f"{split}_{name}.ogg,{name},{split}\n" for name in ("bird", "bell") for split in ("train", "test")]
    (tmp_path / "all.csv").write_text("file,label,split\n" + "".join(rows))
    found = checked(tmp_path)
    assert found["data_set"] == "table"
    assert found["splits"]["val"]["error"].endswith("no clip is in the val split; give rows of all.csv the split val")
    assert found["suggestions"][1] == "train a model:    not yet, as there are no clips for val"


def test_clips_that_are_longer_than_a_recipe_hears_are_named_with_the_setting_that_hears_them(tmp_path: Path) -> None:
    root = write_audio_folder(tmp_path)
    assert len(checked(root)["suggestions"]) == 2
    for path in root.rglob("*.ogg"):
        name = path.parent.name
        path.write_bytes(encode(np.resize(sounds()[name], 32_000), 16_000, "OGG", "VORBIS"))
    found = checked(root)
    assert found["median_seconds"] == 2.0
    _, train, note = found["suggestions"]
    assert note.startswith(
        "by default speech_commands hears 1.28 s of a clip, but half of the clips last 2.00 s or more"
    )
    words = shlex.split(train)
    recipe = load_recipe("speech_commands", [words[i + 1] for i, word in enumerate(words) if word == "--set"])
    assert recipe.model.options["num_frames"] == 256


def test_a_lone_class_beside_a_table_names_the_table(tmp_path: Path) -> None:
    write_sound(tmp_path / "wavs/a.ogg", "bird")
    (tmp_path / "meta.csv").write_text("filename,category\na.ogg,bird\n")
    assert "(--name table -s table=meta.csv)" in run("check", tmp_path, "-q", "--processes", 1).output


def test_a_folder_that_is_no_data_set_is_described(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "a.wav").write_bytes(b"")
    result = run("check", tmp_path)
    assert result.exit_code == 1
    assert "not a data set that FastAST recognises. It holds a.wav, notes.txt; 1 audio files in all" in result.output
    assert "--name esc50|" in result.output
    assert "there is no such folder" in run("check", tmp_path / "nowhere").output
    assert "unknown data set 'esc51'. Did you mean 'esc50'" in run("check", tmp_path, "--name", "esc51").output
    assert "unknown key 'folt'. Did you mean 'fold'" in run("check", tmp_path, "--name", "esc50", "-s", "folt=1").output


def test_bad_clips_are_skipped_and_counted_in_training_and_evaluation(tmp_path: Path) -> None:
    expected = write_bad_esc50(tmp_path)
    lost = {name for name, kind in expected.items() if kind and kind not in ("silent", "clipped", "channels cancel")}
    data = ESC50(root=str(tmp_path), missing="leave out").split("test")
    assert data.left_out == 2
    for replace in (True, False):
        with pytest.warns(UserWarning, match="cancels them out"):
            batches = list(load_batches(data, in_order(len(data), 4), workers=0, replace=replace))
        assert sum(len(batch.indices) for batch in batches) == (16 if replace else 8)
        skipped = {Path(name).name for batch in batches for name, _ in batch.skipped}
        assert skipped == {name for name in lost if expected[name] != "missing"}


# Caches ---------------------------------------------------------------------------------------------------------------


def cached(source: Path, out: Path, *options: object) -> dict[str, Any]:
    result = run("cache", source, "--out", out, "--json", "--quiet", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(("kind", "tolerance"), [("flac", 2**-16), ("flac24", 2**-24)])
def test_a_cache_gives_the_clips_that_it_was_made_of(tmp_path: Path, kind: str, tolerance: float) -> None:
    source = write_audioset(tmp_path / "source", "{table}/{id}.mp3")
    outcome = cached(source, tmp_path / "cache", "--kind", kind, "--processes", 2, "-s", "subset=full")
    assert (outcome["made"], outcome["kept"], outcome["clips"], outcome["skipped"]) == (2, 0, 5, [])
    from fastast.data.layouts.audioset import AudioSet

    for split in ("train", "val", "test"):
        mine = Cache(root=str(tmp_path / "cache")).split(split)
        theirs = AudioSet(root=str(source), subset="full").split(split)
        assert (mine.classes, mine.task, all_ids(mine)) == (theirs.classes, theirs.task, all_ids(theirs))
        np.testing.assert_array_equal(all_labels(mine), all_labels(theirs))
        for index in range(len(mine)):
            np.testing.assert_allclose(mine.clip(index, 0)[0], theirs.clip(index, 0)[0], atol=tolerance)


def test_a_cache_of_16_bits_is_exact_where_the_clips_have_16_bits(tmp_path: Path) -> None:
    cached(write_esc50(tmp_path / "source"), tmp_path / "cache")
    mine, theirs = Cache(root=str(tmp_path / "cache")).split("test"), ESC50(root=str(tmp_path / "source")).split("test")
    for index in range(len(mine)):
        np.testing.assert_array_equal(mine.clip(index, 0)[0], theirs.clip(index, 0)[0])


def test_samples_beyond_full_scale_survive_the_cache(tmp_path: Path) -> None:
    for split in ("train", "test"):
        path = tmp_path / f"source/{split}/bird/loud.wav"
        path.parent.mkdir(parents=True)
        path.write_bytes(encode(sounds()["bird"] / np.abs(sounds()["bird"]).max() * 3, 16_000, "WAV", "FLOAT"))
    cached(tmp_path / "source", tmp_path / "cache", "--split", "test")
    samples = Cache(root=str(tmp_path / "cache")).split("test").clip(0, 0)[0]
    assert np.abs(samples).max() == pytest.approx(3, abs=1e-3)
    np.testing.assert_allclose(samples / 3, sounds()["bird"] / np.abs(sounds()["bird"]).max(), atol=1e-4)


def test_filterbanks_of_a_cache_are_those_of_the_front_end(tmp_path: Path) -> None:
    source = write_esc50(tmp_path / "source")
    cached(source, tmp_path / "cache", "--kind", "fbank")
    geometry = Geometry(embed_dim=32, depth=1, num_heads=2, num_classes=2, num_mel_bins=128, num_frames=176)
    frontend = Frontend(geometry, Normalisation(mean=-4.0, std=4.5))
    features = {}
    for name, data in {"cache": Cache(root=str(tmp_path / "cache")), "source": ESC50(root=str(source))}.items():
        (batch,) = load_batches(data.split("test"), in_order(2, 2), workers=0, replace=False)
        features[name] = Augmentation.plain(batch, frontend)  # (b, f, m)
    assert features["cache"].shape == (2, 176, 128)
    torch.testing.assert_close(features["cache"], features["source"], atol=0.004 / 9, rtol=0)
    batch = next(
        iter(load_batches(Cache(root=str(tmp_path / "cache")).split("test"), in_order(2, 2), workers=0, replace=False))
    )
    with pytest.raises(ValueError, match=r"mixup_rate change samples, but this cache holds filterbanks"):
        Augmentation(mixup_rate=0.5).apply(batch, torch.Generator(), frontend)
    mine, _ = Augmentation().apply(batch, torch.Generator(), frontend)
    torch.testing.assert_close(mine, features["cache"])
    few = Frontend(dataclasses.replace(geometry, num_mel_bins=48), frontend.normalisation)
    with pytest.raises(ValueError, match=r"filterbanks of 128 mel bins, but the model takes 48"):
        Augmentation.plain(batch, few)


def test_a_clip_that_cannot_be_read_stays_in_the_lists_of_a_cache(tmp_path: Path) -> None:
    expected = write_bad_esc50(tmp_path / "source")
    options = ("--json", "--quiet", "-s", 'missing="leave out"', "--processes", 1)
    result = run("cache", tmp_path / "source", "--out", tmp_path / "cache", *options)
    assert result.exit_code == 0, result.output
    assert "cancels them out" in result.stderr
    outcome = json.loads(result.stdout)
    source = ESC50(root=str(tmp_path / "source"), missing="leave out").split("test")
    mine = Cache(root=str(tmp_path / "cache")).split("test")
    assert all_ids(mine) == all_ids(source)
    assert mine.missing == source.missing
    assert len(outcome["skipped"]) == 8
    for index in range(len(mine)):
        kind = expected.get(mine.id(index), "")
        item = read_clip(mine, index, 0)
        assert (item.waveform is None) == (kind in FAULTS)
        if item.waveform is None:
            assert mine.id(index) in item.skipped[0][1]


def test_a_cache_that_was_stopped_goes_on_and_only_what_changed_is_made_again(tmp_path: Path) -> None:
    source, out = write_esc50(tmp_path / "source"), tmp_path / "cache"
    options = ESC50(root=str(source))
    first = make_cache("esc50", options, out, shard_clips=2)
    assert (first.made, first.kept) == (5, 0)
    (out / "train-00001.json").unlink()  # stopped between the clips and their index
    (out / "train-00002.clips").write_bytes(b"half")
    (out / "train-00003.json").write_text('{"clips": [')
    second = make_cache("esc50", options, out, shard_clips=2)
    assert (second.made, second.kept) == (3, 2)
    changed = ESC50(root=str(source)).split("train").recordings[0].path
    changed.write_bytes(encode(sounds()["tabla"], 16_000, "WAV", "PCM_16"))
    third = make_cache("esc50", options, out, shard_clips=2)
    assert (third.made, third.kept) == (1, 4)
    clip = Cache(root=str(out)).split("train").clip(0, 0)[0]
    np.testing.assert_allclose(clip, sounds()["tabla"], atol=2**-15)


@pytest.mark.parametrize("kind", ["flac", "fbank"])
def test_a_part_with_a_flipped_bit_is_made_again(tmp_path: Path, kind: str) -> None:
    source, out = write_esc50(tmp_path / "source"), tmp_path / "cache"
    make_cache("esc50", ESC50(root=str(source)), out, kind=kind)
    path = out / "test-00000.clips"
    written = path.read_bytes()
    path.write_bytes(bytes([written[0] ^ 1]) + written[1:])
    again = make_cache("esc50", ESC50(root=str(source)), out, kind=kind)
    assert (again.made, again.kept) == (1, 1)
    assert path.read_bytes() == written


def test_clips_that_only_this_machine_could_not_read_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "source", tmp_path / "cache"
    for name, samples in list(sounds().items())[:2]:
        (source / name).mkdir(parents=True)
        (source / name / "0.m4a").write_bytes(by_ffmpeg(samples, 16_000, "mp4", "aac"))
    with monkeypatch.context() as patch:
        patch.setattr("fastast.data.decoding.media.is_installed", lambda: False)
        first = run("cache", source, "--out", out, "-q", "--processes", 1)
        assert first.exit_code == 1
        assert "not one clip could be read" in first.output
        assert "use it with" not in first.output
        again = run("cache", source, "--out", out, "-q", "--processes", 1, "--json")
        assert (again.exit_code, json.loads(again.stdout)["kept"]) == (1, 1)  # nothing new to be had
    outcome = cached(source, out, "--processes", 1)
    assert (outcome["made"], outcome["skipped"]) == (1, [])
    assert len(Cache(root=str(out)).split("train").clip(0, 0)[0]) >= 16_000
    assert cached(source, out, "--processes", 1)["kept"] == 1


def test_parts_of_two_states_of_a_data_set_are_no_split(tmp_path: Path) -> None:
    source, out = write_esc50(tmp_path / "source"), tmp_path / "cache"
    make_cache("esc50", ESC50(root=str(source)), out, shard_clips=2)
    first = json.loads((out / "train-00000.json").read_text())
    other = first["clips"][0]["id"]
    (out / "train-00000.json").write_text((out / "train-00000.json").read_text().replace(other, "another"))
    with pytest.raises(DataError, match="parts of split train are from two states .* run fastast data cache again"):
        Cache(root=str(out)).split("train")


def test_a_cache_that_is_stopped_leaves_whole_parts_and_is_no_whole_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_esc50(tmp_path / "source"), tmp_path / "cache"
    written = []

    def stop(path: Path, content: bytes) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        write_whole(path, content)
        written.append(path)

    with monkeypatch.context() as patch:
        for module in (shard_maker, files):
            patch.setattr(module, "write_whole", stop)
        with pytest.raises(KeyboardInterrupt):
            make_cache("esc50", ESC50(root=str(source)), out, shard_clips=2)
    with pytest.raises(DataError, match=r"the cache has no split train; it has none. Run fastast data cache again"):
        Cache(root=str(out)).split("train")
    outcome = make_cache("esc50", ESC50(root=str(source)), out, shard_clips=2)
    assert (outcome.made, outcome.kept) == (4, 1)  # the clips of a second part were there, but not their index
    assert len(Cache(root=str(out)).split("train")) == 8


def test_a_cache_that_is_stopped_in_the_clips_of_two_splits_has_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, out = ESC50(root=str(write_esc50(tmp_path / "source"))), tmp_path / "cache"
    make_cache("esc50", options, out)

    def stop(path: Path, content: bytes) -> None:
        raise KeyboardInterrupt

    os.utime(options.split("test").source(0), (1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(shard_maker, "write_whole", stop)
        with pytest.raises(KeyboardInterrupt):
            make_cache("esc50", options, out, splits=["test"])
    for split in ("val", "test"):  # which are the same clips
        with pytest.raises(SplitNotFoundError, match=f"the cache has no split {split}; it has train. Run fastast"):
            Cache(root=str(out)).split(split)
    make_cache("esc50", options, out)
    assert [len(Cache(root=str(out)).split(split)) for split in ("train", "val", "test")] == [8, 2, 2]


def test_a_split_gets_clips_of_its_own_where_the_cache_had_those_of_another(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    source, out = tmp_path / "source", tmp_path / "cache"
    write_shard(source / "test-0.parquet", {"bird": "animal", "bell": "metal"}, ["animal", "metal"])
    options = Parquet(root=str(source), id="id", label="label")
    make_cache("parquet", options, out)
    write_shard(source / "validation-0.parquet", {"tabla": "metal"}, ["animal", "metal"])
    make_cache("parquet", options, out, splits=["test"])
    assert all_ids(Cache(root=str(out)).split("val")) == ("tabla",)


def test_two_runs_may_make_a_split_each_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, out = ESC50(root=str(write_esc50(tmp_path / "source"))), tmp_path / "cache"

    def after_another_run(*arguments: Any, **options_: Any) -> Any:
        monkeypatch.setattr(making, "each", each)
        make_cache("esc50", options, out, splits=["test"])
        return each(*arguments, **options_)

    monkeypatch.setattr(making, "each", after_another_run)
    make_cache("esc50", options, out, splits=["train"])
    assert [len(Cache(root=str(out)).split(split)) for split in ("train", "test")] == [8, 2]


def test_a_shard_that_changes_costs_its_own_clips_alone(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    source, out = tmp_path / "source", tmp_path / "cache"
    for number, clip in enumerate(("bird", "bell", "tabla")):
        write_shard(source / f"train-{number}.parquet", {clip: "animal", "cymbal": "metal"}, ["animal", "metal"])
    options = Parquet(root=str(source), id="", label="label")
    make_cache("parquet", options, out, shard_clips=2)
    write_shard(source / "train-1.parquet", {"tabla": "animal", "cymbal": "metal"}, ["animal", "metal"])
    again = make_cache("parquet", options, out, shard_clips=2)
    assert (again.made, again.kept) == (1, 2)
    clip = Cache(root=str(out)).split("train").clip(2, 0)[0]
    np.testing.assert_allclose(clip, sounds()["tabla"], atol=2**-15)


def test_a_file_that_a_shard_names_and_that_changes_is_read_again(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    source, out = tmp_path / "source", tmp_path / "cache"
    for name in ("bird", "bell"):
        write_sound(source / f"{name}.wav", name)
    files = pa.array([{"bytes": None, "path": f"{name}.wav"} for name in ("bird", "bell")])
    files = files.cast(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"id": ["x", "y"], "audio": files, "label": ["a", "b"]}), source / "train-0.parquet")
    options = Parquet(root=str(source), id="id", label="label")
    before = options.split("train").fingerprint()
    make_cache("parquet", options, out, shard_clips=1)
    write_sound(source / "bell.wav", "tabla")
    again = make_cache("parquet", options, out, shard_clips=1)
    assert (again.made, again.kept) == (1, 1)
    np.testing.assert_allclose(Cache(root=str(out)).split("train").clip(1, 0)[0], sounds()["tabla"], atol=2**-15)
    assert options.split("train").fingerprint() != before


def test_a_cache_of_other_labels_is_no_whole_cache_until_all_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_esc50(tmp_path / "source"), tmp_path / "cache"
    make_cache("esc50", ESC50(root=str(source)), out, shard_clips=2)
    before = [clip.columns for clip in Cache(root=str(out)).split("train").entries]
    table = source / "meta/esc50.csv"
    table.write_text(table.read_text().replace("0,bird", "2,x").replace("1,bell", "0,bird").replace("2,x", "1,bell"))
    calls = []

    def stop(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt
        write_whole(path, content)

    with monkeypatch.context() as patch:
        for module in (shard_maker, files):
            patch.setattr(module, "write_whole", stop)
        with pytest.raises(KeyboardInterrupt):
            make_cache("esc50", ESC50(root=str(source)), out, shard_clips=2)
    with pytest.raises(DataError, match="Run fastast data cache again"):
        Cache(root=str(out)).split("train")
    make_cache("esc50", ESC50(root=str(source)), out, shard_clips=2)
    assert [clip.columns for clip in Cache(root=str(out)).split("train").entries] == [
        tuple(1 - column for column in columns) for columns in before
    ]


def test_a_cache_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    source, out = write_esc50(tmp_path / "source"), tmp_path / "cache"
    cached(source, out)
    for options, says in (
        (("--kind", "fbank"), "differs in kind: flac, not fbank. Name another folder"),
        (("-s", "fold=2"), "differs in options"),
        (("-s", "channels=first"), "differs in options"),
    ):
        result = run("cache", source, "--out", out, "-q", *options)
        assert result.exit_code == 1
        assert says in result.output
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("x")
    assert (
        "not empty (it holds thesis.tex) and not a cache"
        in run("cache", source, "--out", tmp_path / "full", "-q").output
    )
    assert "unknown kind 'flak'. Did you mean 'flac'" in run("cache", source, "--out", out, "--kind", "flak").output


@pytest.mark.parametrize("kind", ["flac", "fbank"])
def test_a_damaged_cache_is_named_by_check_and_skipped_in_reading(tmp_path: Path, kind: str) -> None:
    source, out = write_esc50(tmp_path / "source"), tmp_path / "cache"
    cached(source, out, "--kind", kind)
    assert run("check", out, "-q").exit_code == 0
    path = out / "test-00000.clips"
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 0x10  # in the first of two clips
    path.write_bytes(content)
    result = run("check", out, "-q", "--processes", 1)
    assert result.exit_code == 1
    assert "1-100001-A-0.wav): damaged since it was written" in result.output
    assert [read_clip(Cache(root=str(out)).split("test"), i, 0).waveform is None for i in (0, 1)] == [True, False]
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"test-00000.clips: missing or truncated; run fastast data cache again"):
        Cache(root=str(out)).split("test")
    (out / "cache.json").write_text("{")
    with pytest.raises(DataError, match=r"cache.json: damaged"):
        Cache(root=str(out)).split("test")


def test_what_a_cache_holds_is_part_of_what_is_asked_and_where_it_lies_is_not(tmp_path: Path) -> None:
    source = write_esc50(tmp_path / "source")
    made = {
        "flac": ("--kind", "flac"),
        "fbank": ("--kind", "fbank"),
        "fold": ("-s", "fold=2"),
        "first": ("-s", "channels=first"),
    }
    for name, options in made.items():
        cached(source, tmp_path / name, *options, "--processes", 1)
    shutil.copytree(tmp_path / "flac", tmp_path / "copy")
    questions = {}
    for name in (*made, "copy"):
        settings = ["data.fold=", "data.name=cache", f"data.root={tmp_path / name}"]
        recipe = load_recipe("esc50", settings).identity
        ref = resolve_data(DataConfig(dataset="cache", root=str(tmp_path / name)))
        questions[name] = (recipe, json.dumps(ref.question(), sort_keys=True))
    assert questions["copy"] == questions["flac"]
    assert len({recipe for recipe, _ in questions.values()}) == len({asked for _, asked in questions.values()}) == 4


def test_a_copy_of_a_cache_is_the_same_data(tmp_path: Path) -> None:
    cached(write_esc50(tmp_path / "source"), tmp_path / "cache")
    shutil.copytree(tmp_path / "cache", tmp_path / "copy")
    here, there = (Cache(root=str(tmp_path / name)).split("test") for name in ("cache", "copy"))
    assert here.fingerprint() == there.fingerprint()
    assert here.fingerprint() != Cache(root=str(tmp_path / "cache")).split("train").fingerprint()


# Mean and deviation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_stats_are_those_of_all_values(tmp_path: Path, processes: int) -> None:
    from fastast.frontend.filterbank import fbank

    root = write_audio_folder(tmp_path)
    data = [fbank(torch.from_numpy(clip)[None])[0].numpy() for clip in decoded(root)]
    values = np.concatenate(data).astype(np.float64)
    found = json.loads(run("stats", root, "--json", "-q", "--processes", processes).stdout)
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-5)
    assert found["std"] == pytest.approx(values.std(), abs=1e-5)
    assert (found["clips"], found["frames"]) == (2, len(values))
    padded = np.stack([np.pad(clip, ((0, 128 - len(clip)), (0, 0))) for clip in data]).astype(np.float64)
    text = run("stats", root, "--frames", "128", "-q", "--processes", processes).output
    written = dict(line.split(" = ") for line in text.splitlines() if " = " in line)
    assert float(written["mean"]) == pytest.approx(padded.mean(), abs=1e-5)
    assert float(written["std"]) == pytest.approx(padded.std(), abs=1e-5)


def decoded(root: Path) -> list[np.ndarray]:
    from fastast.data.audio import load_audio

    return [load_audio(root / f"train/{name}/0.ogg") for name in ("bell", "bird")]


@pytest.mark.filterwarnings("ignore::fastast.data.audio.AudioWarning")
def test_stats_leave_bad_clips_out_and_say_so(tmp_path: Path) -> None:
    write_bad_esc50(tmp_path)
    result = run("stats", tmp_path, "--split", "test", "-q", "--processes", 1, "-s", 'missing="leave out"', "--json")
    found = json.loads(result.stdout)
    assert (found["clips"], len(found["skipped"])) == (8, 8)
    assert np.isfinite([found["mean"], found["std"]]).all()


def test_stats_of_other_mel_bins_than_a_cache_holds_are_refused(tmp_path: Path) -> None:
    root = write_audio_folder(tmp_path / "source")
    cached(root, tmp_path / "fbank", "--kind", "fbank", "--processes", 1)
    result = run("stats", tmp_path / "fbank", "--mel-bins", 64, "-q", "--processes", 1)
    assert result.exit_code == 1
    assert "a filterbank of 128 mel bins, but 64 are requested; use the data set itself, or a cache" in result.output


# The whole path -------------------------------------------------------------------------------------------------------


def test_numbers_on_a_cache_are_those_of_the_set_it_was_made_of(tmp_path: Path) -> None:
    source = write_esc50(tmp_path / "source")
    geometry = Geometry(embed_dim=32, depth=2, num_heads=2, num_classes=2, num_mel_bins=128, num_frames=98)
    model = AudioSpectrogramTransformer(geometry)
    path = save_checkpoint(
        tmp_path / "tiny.safetensors", model, labels=("bird", "bell"), normalisation=Normalisation(mean=-4.0, std=3.0)
    )
    found = {}
    for kind in ("", "flac", "fbank"):
        if kind:
            cached(source, tmp_path / kind, "--kind", kind, "--processes", 1)
        given = ("data.fold=", "data.name=cache", f"data.root={tmp_path / kind}") if kind else (f"data.root={source}",)
        settings = [word for setting in (*given, "run.workers=0") for word in ("--set", setting)]
        result = CliRunner().invoke(app, ["evaluate", str(path), "esc50", *settings, "--json", "--device", "cpu"])
        assert result.exit_code == 0, result.output
        found[kind] = json.loads(result.stdout)
    assert found["flac"]["metrics"] == found[""]["metrics"]
    assert found["fbank"]["metrics"]["unmerged"]["accuracy"] == found[""]["metrics"]["unmerged"]["accuracy"]
    assert len({(part["ids_sha256"], part["clips"]) for part in found.values()}) == 1
    assert [part["reading"].get("cache") for part in found.values()] == [None, "flac", "fbank"]
    assert {part["reading"]["channels"] for part in found.values()} == {"average"}
