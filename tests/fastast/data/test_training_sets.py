"""Data sets for training: trees as published, built small, and what is wrong with broken ones; samplers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fastast.data import soundscapes
from fastast.data.audioset import AudioSet
from fastast.data.esc50 import ESC50
from fastast.data.sampling import Sampler, all_labels, balanced_weights, in_order
from fastast.data.soundscapes_pool import pool_path
from fastast.data.soundscapes_training import Soundscapes
from fastast.data.speech_commands import WORDS, SpeechCommands


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


def test_what_is_wrong_with_audioset_is_named(audioset: Path) -> None:
    (audioset / "balanced_train" / "Yxyz.flac").unlink()
    with pytest.raises(FileNotFoundError, match=r"xyz.wav: this clip .* not there, .*data.missing=\"leave out\""):
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


def test_esc50_leaves_its_fold_out(tmp_path: Path) -> None:
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, category in enumerate(("dog", "rooster")):
            rows.append(f"{fold}-{target}.wav,{fold},{target},{category},True,1,A")
            write_clip(tmp_path / "audio" / f"{fold}-{target}.wav")
    table = tmp_path / "meta" / "esc50.csv"
    table.parent.mkdir()
    table.write_text("\n".join(rows))
    for fold in range(1, 6):
        options = ESC50(root=str(tmp_path), fold=fold)
        train, test = options.split("train"), options.split("test")
        assert {Path(test.name(i)).name[0] for i in range(len(test))} == {str(fold)}
        names = {train.name(i) for i in range(len(train))} | {test.name(i) for i in range(len(test))}
        assert (len(train), len(test), len(names)) == (8, 2, 10)
        assert all_labels(test).tolist() == [[1, 0], [0, 1]]
    table.write_text("\n".join([*rows, "x.wav,1,0,cat,True,1,A"]))
    with pytest.raises(ValueError, match=r"line 12: target 0 is 'cat' here and 'dog' above"):
        ESC50(root=str(tmp_path)).split("train")
    table.write_text("\n".join([*rows, "lost.wav,2,0,dog,True,1,A"]))
    with pytest.raises(FileNotFoundError, match=r"lost.wav: this clip of esc50.csv is not there"):
        ESC50(root=str(tmp_path)).split("train")


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
        assert data.classes == WORDS
        assert all_labels(data).sum(1).tolist() == [1.0] * len(data)
    assert found == {"train": [files[0], files[3]], "val": [files[1]], "test": [files[2]]}
    (tmp_path / "testing_list.txt").write_text("zebra/c.wav\n")
    with pytest.raises(ValueError, match=r"'zebra/c.wav': unknown word"):
        SpeechCommands(root=str(tmp_path)).split("test")


def test_the_balanced_weights_are_asts() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 1]], np.float32)
    expected = [1000 / 4.01, 1000 / 4.01 + 1000 / 1.01, *[1000 / 4.01 + 1000 / 2.01] * 2]
    np.testing.assert_allclose(balanced_weights(labels), expected)


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
    with pytest.raises(ValueError, match=r"7 clips make no batch of 8"):
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
    with pytest.raises(ValueError, match="Did you mean 'Music'"):
        Soundscapes(classes=("Musik",))


def test_generators_elsewhere_are_left_alone() -> None:
    state = torch.random.get_rng_state()
    Sampler(num_clips=30, batch_size=8, seed=3).order(0)
    assert torch.equal(state, torch.random.get_rng_state())
