"""Data sets for training: trees as published, built small, and what is wrong with broken ones; samplers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fastast.data import soundscapes
from fastast.data.audio import AudioError
from fastast.data.folders import FolderSet, Recording
from fastast.data.identity import hash_ids
from fastast.data.layouts.audioset import AudioSet
from fastast.data.layouts.esc50 import ESC50
from fastast.data.layouts.speech_commands import WORDS, SpeechCommands
from fastast.data.sampling import Sampler, all_labels, balanced_weights, in_order, load_batches
from fastast.data.soundscapes import generate
from fastast.data.soundscapes.pool import ASSETS, pool_path
from fastast.data.soundscapes.training import Soundscapes
from fastast.data.training_set import DataError, DataNotFoundError, all_ids, read_or_replace

REFERENCE = ASSETS / "reference.json"


def write_clip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(800, np.float32), 16_000)


@pytest.fixture
def audioset(tmp_path: Path) -> Path:
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n2,/t/dd00003,"Bark"\n'
    )
    head = "# Segments csv\n# num_ytids=2\n# YTID, start_seconds, end_seconds, positive_labels\n"
    (tmp_path / "balanced_train_segments.csv").write_text(
        head + '-0abc, 30.000, 40.000, "/m/09x0r,/m/05zppz"\nxyz, 0.000, 10.000, "/t/dd00003"\n'
    )
    (tmp_path / "unbalanced_train_segments.csv").write_text(head + 'more, 0.000, 10.000, "/m/09x0r"\n')
    (tmp_path / "eval_segments.csv").write_text(head + 'test, 0.000, 10.000, "/m/05zppz"\n')
    for name in ("balanced_train/-0abc.wav", "balanced_train/Yxyz.flac", "unbalanced_train/more.wav", "eval/test.wav"):
        write_clip(tmp_path / name)
    return tmp_path


def test_audioset_is_read_as_published(audioset: Path) -> None:
    data = AudioSet(root=str(audioset)).split("train")
    assert data.classes == ("Speech", "Male speech, man speaking", "Bark")
    assert [Path(data.name(i)).name for i in range(len(data))] == ["-0abc.wav", "Yxyz.flac"]
    assert all_labels(data).tolist() == [[1, 1, 0], [0, 0, 1]]
    waveform, labels = data.clip(0, 0)
    assert waveform.shape == (800,)
    assert labels.tolist() == [1, 1, 0]
    assert len(AudioSet(root=str(audioset), subset="full").split("train")) == 3
    assert all_labels(AudioSet(root=str(audioset)).split("val")).tolist() == [[0, 1, 0]]


def test_a_clip_has_one_id_wherever_the_data_lies_and_however_the_file_is_called(
    audioset: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(audioset, tmp_path / "copy")
    (copy / "balanced_train" / "Yxyz.flac").rename(copy / "balanced_train" / "xyz.flac")
    here, there = (AudioSet(root=str(root)).split("train") for root in (audioset, copy))
    assert all_ids(here) == all_ids(there) == ("-0abc", "xyz")
    assert here.name(0) != there.name(0)
    assert hash_ids(all_ids(here)) == hashlib.sha256(b"-0abc\nxyz").hexdigest()
    assert here.task == "multi_label"


def test_a_file_that_changes_changes_the_fingerprint_and_a_lost_one_is_named(tmp_path: Path) -> None:
    data = tones(tmp_path, 3)
    before = data.fingerprint()
    assert tones_again(tmp_path).fingerprint() == before
    with (tmp_path / "1.wav").open("ab") as file:
        file.write(b"more")
    changed = data.fingerprint()
    assert changed != before
    os.utime(tmp_path / "2.wav", ns=(0, 0))
    assert data.fingerprint() not in (before, changed)
    (tmp_path / "0.wav").unlink()
    with pytest.raises(DataNotFoundError, match=r"0.wav: there is no such file, although it was there"):
        data.fingerprint()


def test_what_is_wrong_with_audioset_is_named(audioset: Path) -> None:
    (audioset / "balanced_train" / "Yxyz.flac").unlink()
    with pytest.raises(FileNotFoundError, match=r"xyz.wav: this clip .* is missing, .*data.missing=\"leave out\""):
        AudioSet(root=str(audioset)).split("train")
    fewer = AudioSet(root=str(audioset), missing="leave out").split("train")
    assert (len(fewer), fewer.left_out) == (1, 1)
    with (audioset / "balanced_train_segments.csv").open("a") as file:
        file.write('abc, 0.000, 10.000, "/m/unheard_of"\n')
    with pytest.raises(ValueError, match=r"line 6: label '/m/unheard_of' is not in the ontology"):
        AudioSet(root=str(audioset)).split("train")
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        AudioSet(root=str(audioset / "nowhere")).split("train")
    with pytest.raises(ValueError, match=r"root is not given; .* -s data.root=FOLDER"):
        AudioSet().split("train")


ONTOLOGY, SEGMENTS = "class_labels_indices.csv", "balanced_train_segments.csv"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (ONTOLOGY, b"2,/t/", b"x,/t/", r"indices.csv, line 4: index is 'x'; it must be a whole number of at least 0"),
        (ONTOLOGY, b"2,/t/", b"1,/t/", r"indices.csv, line 4: index is 1, .*; indices must be 0 to 2, each once"),
        (ONTOLOGY, b"2,/t/", b"3,/t/", r"indices.csv, line 4: index is 3, .*; indices must be 0 to 2, each once"),
        (ONTOLOGY, b"/t/dd00003", b"/m/09x0r", r"indices.csv, line 4: .* '/m/09x0r'; .* no mid may appear twice"),
        (
            ONTOLOGY,
            b'"Male speech, man speaking"',
            b"Male speech, man speaking",
            r"line 3: .* must be 3 values: index,",
        ),
        (ONTOLOGY, b"Bark", "Bêle".encode("latin-1"), r"indices.csv, line 4: b'\\xea' is not UTF-8"),
        (ONTOLOGY, b"index,", b"number,", r"indices.csv: no column 'index'; it must have index, mid, display_name"),
        (SEGMENTS, b"# YTID", b"# \xff\xfe", r"segments.csv, line 3: b'\\xff\\xfe' is not UTF-8"),
        (SEGMENTS, b"0.000, 10.000, ", b"10.000, ", r"segments.csv, line 5: .* must be id, start, end, \"labels\""),
        (SEGMENTS, b"xyz, ", b"x" * 140_000, r"segments.csv, line 5: field larger than .* a table must be CSV"),
    ],
)
def test_a_table_of_audioset_that_is_wrong_is_named_with_its_line(
    audioset: Path, file: str, old: bytes, new: bytes, message: str
) -> None:
    table = audioset / file
    assert old in table.read_bytes()
    table.write_bytes(table.read_bytes().replace(old, new))
    with pytest.raises(DataError, match=message):
        AudioSet(root=str(audioset)).split("train")


def test_a_table_without_rows_is_named(audioset: Path) -> None:
    (audioset / ONTOLOGY).write_text("index,mid,display_name\n\n")
    with pytest.raises(DataError, match=r"indices.csv: there is no row below the header"):
        AudioSet(root=str(audioset)).split("train")


def write_esc50(root: Path) -> tuple[Path, list[str]]:
    """Two categories, a clip of each in every fold; returns the table and its lines."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, category in enumerate(("dog", "rooster")):
            rows.append(f"{fold}-{target}.wav,{fold},{target},{category},True,1,A")
            write_clip(root / "audio" / f"{fold}-{target}.wav")
    table = root / "meta" / "esc50.csv"
    table.parent.mkdir()
    table.write_text("\n".join(rows))
    return table, rows


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"x.wav,1,first,dog,True,1,A", r"esc50.csv, line 13: target is 'first'; it must be a whole number"),
        (b"x.wav,,0,dog,True,1,A", r"esc50.csv, line 13: fold is ''; it must be a whole number"),
        (b"x.wav,6,0,dog,True,1,A", r"esc50.csv, line 13: fold is 6; ESC-50 has the folds 1, 2, 3, 4 and 5"),
        (b"x.wav,1", r"esc50.csv, line 13: \['x.wav', '1'\] must be 7 values: filename, fold, target"),
        (b"\xe9.wav,1,0,dog,True,1,A", r"esc50.csv, line 13: b'\\xe9' is not UTF-8"),
    ],
)
def test_a_table_of_esc50_that_is_wrong_is_named_with_its_line(tmp_path: Path, row: bytes, message: str) -> None:
    table, _ = write_esc50(tmp_path)
    table.write_bytes(table.read_bytes() + b"\n\n" + row)  # an empty line is a line too
    with pytest.raises(DataError, match=message):
        ESC50(root=str(tmp_path)).split("train")


def test_esc50_leaves_its_fold_out(tmp_path: Path) -> None:
    table, rows = write_esc50(tmp_path)
    for fold in range(1, 6):
        options = ESC50(root=str(tmp_path), fold=fold)
        train, test = options.split("train"), options.split("test")
        assert {Path(test.name(i)).name[0] for i in range(len(test))} == {str(fold)}
        names = {train.name(i) for i in range(len(train))} | {test.name(i) for i in range(len(test))}
        assert (len(train), len(test), len(names)) == (8, 2, 10)
        assert all_labels(test).tolist() == [[1, 0], [0, 1]]
        assert all_ids(test) == (f"{fold}-0.wav", f"{fold}-1.wav")
        assert test.task == "single_label"
    table.write_text("\n".join([*rows, "x.wav,1,0,cat,True,1,A"]))
    with pytest.raises(ValueError, match=r"line 12: target 0 is 'cat' here and 'dog' above"):
        ESC50(root=str(tmp_path)).split("train")
    table.write_text("\n".join([*rows, "lost.wav,2,0,dog,True,1,A"]))
    with pytest.raises(FileNotFoundError, match=r"lost.wav: this clip of esc50.csv is missing"):
        ESC50(root=str(tmp_path)).split("train")


@pytest.mark.filterwarnings("ignore::fastast.data.training_set.DataWarning")
def test_speech_commands_are_split_by_the_lists(tmp_path: Path) -> None:
    files = ["bed/a_nohash_0.wav", "bed/b_nohash_0.wav", "zero/c_nohash_0.wav", "yes/d_nohash_0.wav"]
    for name in (*files, "_background_noise_/hum.wav"):
        write_clip(tmp_path / name)
    (tmp_path / "validation_list.txt").write_text("bed/b_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("zero/c_nohash_0.wav\n")
    found = {}
    for split in ("train", "val", "test"):
        data = SpeechCommands(root=str(tmp_path)).split(split)
        found[split] = [str(recording.path.relative_to(tmp_path)) for recording in data.recordings]
        assert all_ids(data) == tuple(found[split])
        assert (data.classes, data.task) == (WORDS, "single_label")
        assert all_labels(data).sum(1).tolist() == [1.0] * len(data)
    assert found == {"train": [files[0], files[3]], "val": [files[1]], "test": [files[2]]}
    (tmp_path / "testing_list.txt").write_text("zebra/c.wav\n")
    with pytest.raises(ValueError, match=r"testing_list.txt, line 1: 'zebra/c.wav': unknown word"):
        SpeechCommands(root=str(tmp_path)).split("test")
    (tmp_path / "testing_list.txt").write_bytes(b"zero/c_nohash_0.wav\nbed/\xff.wav\n")
    with pytest.raises(DataError, match=r"testing_list.txt, line 2: b'\\xff' is not UTF-8"):
        SpeechCommands(root=str(tmp_path)).split("train")


@pytest.mark.parametrize("kind", [AudioSet, ESC50, SpeechCommands])
def test_a_root_that_is_no_path_is_refused(kind: Callable[..., object]) -> None:
    with pytest.raises(DataError, match=r"data: root is 3; it must be text, the path of a folder"):
        kind(root=3)


def test_the_balanced_weights_are_asts() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 1]], np.float32)
    expected = [1000 / 4.01, 1000 / 4.01 + 1000 / 1.01, *[1000 / 4.01 + 1000 / 2.01] * 2]
    np.testing.assert_allclose(balanced_weights(labels), expected)


class _ManyClips:
    """20,000 clips of 500 classes, two labels each."""

    classes = tuple(map(str, range(500)))

    def __len__(self) -> int:
        return 20_000

    def labels(self, index: int, epoch: int) -> np.ndarray:
        labels = np.zeros(500, np.float32)
        labels[[index % 500, index * 7 % 499]] = 1
        return labels


def test_the_balanced_weights_of_many_clips_need_little_memory() -> None:
    """AudioSet has 2 million clips of 527 classes: 8 GB as float64."""
    data = _ManyClips()
    tracemalloc.start()
    try:
        weights = balanced_weights(all_labels(data))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(data) * len(data.classes)  # bytes: less than the labels once as float32
    labels = np.stack([data.labels(index, 0) for index in range(len(data))]).astype(np.float64)
    np.testing.assert_allclose(weights, labels @ (1000 / (labels.sum(0) + 0.01)), rtol=1e-14)


def test_a_label_between_0_and_1_has_no_balanced_weight() -> None:
    data = _ManyClips()
    data.labels = lambda index, epoch: np.full(500, 0.5, np.float32)
    with pytest.raises(DataError, match=r"a label of the clips 0 to 4095 is neither 0 nor 1"):
        all_labels(data)


def tones(folder: Path, count: int) -> FolderSet:
    """Clips of one class in files."""
    for index in range(count):
        write_clip(folder / f"{index}.wav")
    return tones_again(folder)


def tones_again(folder: Path) -> FolderSet:
    paths = sorted(folder.glob("*.wav"))
    recordings = [Recording(id=path.stem, path=path, columns=(0,)) for path in paths]
    return FolderSet(("a",), recordings, task="single_label")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_clip_is_named_and_replaced_whichever_process_reads(tmp_path: Path, workers: int) -> None:
    data = tones(tmp_path, 6)
    (tmp_path / "1.wav").write_bytes(b"RIFFhalf")
    (tmp_path / "5.wav").write_bytes(b"")
    for replace, read in ((True, [[0, 2, 2], [3, 4, 0]]), (False, [[0, 2], [3, 4]])):
        batches = list(load_batches(data, in_order(6, 3), workers=workers, replace=replace))
        assert [batch.indices.tolist() for batch in batches] == read
        assert [Path(name).name for batch in batches for name, _ in batch.skipped] == ["1.wav", "5.wav"]
        assert "cut off or damaged" in batches[0].skipped[0][1]


@pytest.mark.parametrize("workers", [0, 1])
def test_what_stops_a_worker_is_said_in_one_line(tmp_path: Path, workers: int) -> None:
    data = tones(tmp_path / "lost", 3)
    shutil.rmtree(tmp_path / "lost")
    with pytest.raises(DataNotFoundError) as lost:
        list(load_batches(data, in_order(3, 3), workers=workers, replace=True))
    path = tmp_path / "lost" / "0.wav"
    assert str(lost.value) == f"{path}: there is no such file, although it was there when the data set was opened"
    if workers:
        assert "in clip\n" in lost.value.__notes__[0]  # where in the worker it was
    corrupt = tones(tmp_path / "corrupt", 3)
    for clip in (tmp_path / "corrupt").iterdir():
        clip.write_bytes(b"")
    with pytest.raises(DataError) as all_corrupt:
        list(load_batches(corrupt, in_order(3, 3), workers=workers, replace=True))
    assert type(all_corrupt.value) is DataError
    assert str(all_corrupt.value).startswith("data: 3 clips in a row cannot be used, from ")
    assert "\n" not in str(all_corrupt.value)


def test_balanced_sampling_draws_in_proportion() -> None:
    weights = np.repeat([1.0, 3.0], 500)
    drawn = np.concatenate(
        [Sampler(num_clips=1000, batch_size=10, seed=0, weights=weights).order(epoch) for epoch in range(20)]
    )
    assert (drawn >= 500).mean() == pytest.approx(0.75, abs=0.01)  # three standard deviations


def test_an_epoch_has_every_clip_once_and_no_two_are_alike() -> None:
    sampler = Sampler(num_clips=20, batch_size=4, seed=0)
    assert sorted(sampler.order(0)) == list(range(20))
    assert sampler.order(0).tolist() != sampler.order(1).tolist()
    steps = list(sampler.parts(0, 10))
    assert sorted(index for step in steps[:5] for index, _ in step) == list(range(20))
    assert {epoch for step in steps[5:] for _, epoch in step} == {1}


def test_processes_and_parts_share_the_clips_of_a_step_and_a_run_goes_on_anywhere() -> None:
    sampler = Sampler(num_clips=30, batch_size=8, seed=3)
    whole = list(sampler.parts(0, 9))
    shares = [list(sampler.parts(0, 9, rank=rank, world_size=2, accumulation=2)) for rank in (0, 1)]
    for step, clips in enumerate(whole):
        shared = [clip for share in shares for part in share[2 * step : 2 * step + 2] for clip in part]
        assert sorted(shared) == sorted(clips)
    assert list(sampler.parts(5, 9)) == whole[5:]
    with pytest.raises(ValueError, match=r"7 clips do not fill a batch of 8"):
        Sampler(num_clips=7, batch_size=8, seed=0)


def test_evaluation_meets_every_clip_once() -> None:
    met = [index for rank in range(3) for batch in in_order(10, 2, rank=rank, world_size=3) for index, _ in batch]
    assert sorted(met) == list(range(10))


@pytest.mark.skipif(not pool_path().exists(), reason="the recordings come with the repository only")
def test_soundscapes_for_evaluation_are_the_published_ones(tmp_path: Path) -> None:
    published = soundscapes.load("val", count=3, seconds=2.0, cache_dir=tmp_path, progress=False)
    mine = Soundscapes(seconds=2.0, val_clips=3).split("val")
    for index in range(3):
        waveform, labels = mine.clip(index, epoch=5)
        np.testing.assert_array_equal(waveform, published.waveforms[index].astype(np.float32) / 32768)
        assert labels.tolist() == published.labels[index].tolist() == mine.labels(index, 5).tolist()
    assert all_ids(mine) == published.ids


@pytest.mark.skipif(not pool_path().exists(), reason="the recordings come with the repository only")
def test_other_test_clips_go_on_where_the_first_ones_end(tmp_path: Path) -> None:
    published = soundscapes.load("test", count=5, seconds=2.0, cache_dir=tmp_path, progress=False)
    options = Soundscapes(seconds=2.0, test_clips=2, first_test_clip=3)
    others = options.split("test")
    assert all_ids(others) == published.ids[3:] == ("test_00003", "test_00004")
    for index in range(2):
        waveform, labels = others.clip(index, epoch=0)
        np.testing.assert_array_equal(waveform, published.waveforms[3 + index].astype(np.float32) / 32768)
        assert labels.tolist() == published.labels[3 + index].tolist() == others.labels(index, 0).tolist()
    first = Soundscapes(seconds=2.0, test_clips=2)
    assert others.fingerprint() != first.split("test").fingerprint()
    for split in ("train", "val"):
        assert options.split(split).fingerprint() == first.split(split).fingerprint()
        assert options.split(split).id(0) == f"{split}_00000"
    assert Soundscapes(test_clips=2000).split("test").reference() is not None
    assert Soundscapes(test_clips=2000, first_test_clip=1).split("test").reference() is None
    for wrong in (-1, 1.0, True, 99_999):
        with pytest.raises(ValueError, match="first_test_clip is .* with 2 test clips, it must be .* 0 to 99,998"):
            Soundscapes(test_clips=2, first_test_clip=wrong)


@pytest.mark.skipif(not pool_path().exists(), reason="the recordings come with the repository only")
def test_soundscapes_know_what_their_audio_hangs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint(**options: object) -> str:
        return Soundscapes(**options).split("test").fingerprint()

    usual = fingerprint(test_clips=5)
    assert fingerprint(test_clips=6) == usual  # the same clips, and one more
    assert fingerprint(test_clips=5, seconds=4.0) != usual
    monkeypatch.setattr(generate, "VERSION", 99)
    assert fingerprint(test_clips=5) != usual


@pytest.mark.skipif(not pool_path().exists(), reason="the recordings come with the repository only")
def test_the_committed_hash_of_soundscapes_is_that_of_whole_clips_only() -> None:
    count, sha256 = Soundscapes(test_clips=2000).split("test").reference()
    known = [one for one in json.loads(REFERENCE.read_text())["sets"] if one["sha256"] == sha256]
    assert [(one["split"], one["seconds"], one["count"]) for one in known] == [("test", 5.0, count)]
    assert Soundscapes(test_clips=2).split("test").reference() is None
    assert Soundscapes(test_clips=2000, classes=("Music",)).split("test").reference() is None


@pytest.mark.skipif(not pool_path().exists(), reason="the recordings come with the repository only")
def test_training_mixes_new_soundscapes_every_epoch() -> None:
    fresh = Soundscapes(seconds=2.0, train_clips=50, speed_share=0.5, classes=("Music", "Speech")).split("train")
    seeds = {fresh.seed(index, epoch) for index in range(50) for epoch in range(4)}
    assert len(seeds) == 200
    first, again, later = fresh.clip(3, 0), fresh.clip(3, 0), fresh.clip(3, 1)
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], later[0])
    assert first[1].shape == (2,)
    kept = Soundscapes(seconds=2.0, train_clips=50, fresh=False).split("train")
    np.testing.assert_array_equal(kept.clip(3, 0)[0], kept.clip(3, 1)[0])
    thrice = Soundscapes(seconds=2.0, train_clips=50, repeats=3).split("train")
    epochs = [thrice.clip(3, epoch)[0] for epoch in range(4)]
    np.testing.assert_array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(epochs[0], epochs[2])
    assert not np.array_equal(epochs[2], epochs[3])
    np.testing.assert_array_equal(thrice.clip(3, 0)[0], epochs[0])  # gone back to, as after a restart
    for wrong in (0, 1.5, True):
        with pytest.raises(ValueError, match="repeats is"):
            Soundscapes(repeats=wrong)
    with pytest.raises(ValueError, match="set only one of them"):
        Soundscapes(repeats=2, fresh=False)
    with pytest.raises(ValueError, match="Did you mean 'Music'"):
        Soundscapes(classes=("Musik",))


def test_generators_elsewhere_are_left_alone() -> None:
    state = torch.random.get_rng_state()
    Sampler(num_clips=30, batch_size=8, seed=3).order(0)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_time_that_reading_took_counts_those_that_were_replaced() -> None:
    class Two:
        def __len__(self) -> int:
            return 2

        def name(self, index: int) -> str:
            return f"clip {index}"

        def clip(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
            time.sleep(0.02)
            if index == 0:
                raise AudioError("clip 0 is broken")
            return np.zeros(16_000, np.float32), np.zeros(2, np.float32)

    found = read_or_replace(Two(), 0, 0)  # type: ignore[arg-type]
    assert (found.index, found.skipped) == (1, (("clip 0", "clip 0 is broken"),))
    assert found.seconds >= 0.04
