"""Features are those of the front end, computed once, and believed only while they are what was written."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bench.cell import features
from bench.cell.feature_set import FeatureSet
from bench.cell.features import prepare_features
from bench.sweep.config import DataConfig
from bench.sweep.data import DataRef, resolve_data
from fastast import create_model
from fastast.data import soundscapes
from fastast.data.soundscapes.pool import pool_path
from fastast.data.training_set import DataError, DataNotFoundError, Item, TrainingSet, read_clip
from fastast.frontend import Frontend, Normalisation
from fastast.model import AudioSpectrogramTransformer

SECONDS = 0.7
real = pytest.mark.skipif(not pool_path().exists(), reason="the recordings come with the repository only")


@pytest.fixture(scope="module")
def model() -> AudioSpectrogramTransformer:
    model = create_model("ast_tiny", num_frames=64, num_classes=3)
    model.normalisation = Normalisation(mean=-4.0, std=4.0)
    return model


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """ESC-50 of three categories, ten clips each in fold 1: more than are read at once."""
    random = np.random.default_rng(0)
    rows = ["filename,fold,target,category"]
    (tmp_path / "esc" / "audio").mkdir(parents=True)
    (tmp_path / "esc" / "meta").mkdir()
    for index in range(70):
        name = f"{index:02d}.wav"
        rows.append(f"{name},1,{index % 3},{'abc'[index % 3]}")
        samples = 0.1 * random.standard_normal(int(SECONDS * 16_000))
        soundfile.write(tmp_path / "esc" / "audio" / name, samples, 16_000)
    (tmp_path / "esc" / "meta" / "esc50.csv").write_text("\n".join(rows))
    return tmp_path / "esc"


def clips_of(root: Path, **options: object) -> DataRef:
    return resolve_data(DataConfig(dataset="esc50", root=str(root), **options))


def prepared(ref: DataRef, model: AudioSpectrogramTransformer, cache: Path) -> FeatureSet:
    with torch.inference_mode():
        return prepare_features(ref, model, cache, progress=False)


def test_features_are_those_of_the_front_end_and_computed_once(
    root: Path, tmp_path: Path, model: AudioSpectrogramTransformer
) -> None:
    first = prepared(clips_of(root), model, tmp_path)
    written = first.path.stat().st_mtime_ns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = prepared(clips_of(root), model, tmp_path)
    assert (again.path, again.path.stat().st_mtime_ns) == (first.path, written)
    np.testing.assert_array_equal(again.labels, first.labels)
    ours, before = (vars(one) | {"labels": None} for one in (again, first))
    assert ours == before | {"reused": True}
    read = [soundfile.read(root / "audio" / f"{index:02d}.wav", dtype="float32")[0] for index in range(70)]
    expected = Frontend(model.geometry, model.normalisation)(torch.from_numpy(np.stack(read)))
    np.testing.assert_allclose(first.open(), expected, atol=1e-5)
    assert first.open().dtype == np.float32
    assert first.ids == tuple(f"{index:02d}.wav" for index in range(70))
    assert first.labels.argmax(1).tolist() == [index % 3 for index in range(70)]
    assert (first.task, first.classes, first.skipped, first.cut) == ("single_label", ("a", "b", "c"), {}, 70)
    assert first.frames == (68,) * 70
    assert first.matches_reference is None
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_making_features_took_is_kept_beside_them(
    root: Path, tmp_path: Path, model: AudioSpectrogramTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 70 clips that a processor works 5 ms on each, and waits 5 ms for."""

    def slow(data: TrainingSet, index: int, epoch: int) -> Item:
        item, end = read_clip(data, index, epoch), time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        time.sleep(0.005)
        return item

    (root / "audio" / "01.wav").write_bytes(b"")
    monkeypatch.setattr(features, "read_clip", slow)
    start = time.perf_counter()
    first = prepared(clips_of(root), model, tmp_path)
    wall = time.perf_counter() - start
    found = first.preparation
    assert found is not None
    assert (found.source, found.clips, found.readers) == ("files", 69, min(8, os.cpu_count() or 1))
    assert 70 * 0.005 <= found.read_core_seconds < found.core_seconds
    assert 70 * 0.010 / found.readers <= found.seconds <= wall
    assert found.rate == pytest.approx(69 / found.seconds)
    assert found.rate_per_core == pytest.approx(69 / found.core_seconds)
    assert not first.reused
    again = prepared(clips_of(root), model, tmp_path)
    assert (again.preparation, again.reused) == (found, True)


def test_clips_that_could_not_be_read_and_can_be_now_are_not_left_out_for_good(
    root: Path, tmp_path: Path, model: AudioSpectrogramTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def without(data: TrainingSet, index: int, epoch: int) -> Item:
            if index == 3:  # as an m4a where PyAV is not installed
                return Item(index=index, waveform=None, labels=None, skipped=((data.name(index), "not readable"),))
            return read_clip(data, index, epoch)

        patch.setattr(features, "read_clip", without)
        assert [len(prepared(clips_of(root), model, tmp_path).ids) for _ in range(2)] == [69, 69]
    with pytest.warns(UserWarning, match="clips that could not be read can be now; the features are made again"):
        again = prepared(clips_of(root), model, tmp_path)
    assert (len(again.ids), again.skipped, again.reused) == (70, {}, False)


def test_other_files_labels_or_settings_have_features_of_their_own(
    root: Path, tmp_path: Path, model: AudioSpectrogramTransformer
) -> None:
    found = [prepared(clips_of(root), model, tmp_path)]
    other = create_model("ast_tiny", num_frames=64, num_classes=3)
    other.normalisation = Normalisation(mean=-5.0, std=4.0)
    found.append(prepared(clips_of(root), other, tmp_path))
    soundfile.write(root / "audio" / "03.wav", np.zeros(9_000), 16_000)
    found.append(prepared(clips_of(root), model, tmp_path))
    table = root / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("00.wav,1,0,a", "00.wav,1,1,b"))
    found.append(prepared(clips_of(root), model, tmp_path))
    found.append(prepared(clips_of(root, clips=69), model, tmp_path))
    assert len({one.path for one in found}) == 5
    assert len({one.clips_sha256 for one in found}) == 4  # another normalisation hears the same clips


@pytest.mark.parametrize("damage", ["zeroed", "truncated", "other bytes", "no notes", "broken notes"])
def test_features_that_are_not_what_was_written_are_named_and_made_again(
    root: Path, tmp_path: Path, model: AudioSpectrogramTransformer, damage: str
) -> None:
    sound = prepared(clips_of(root), model, tmp_path)
    content, notes = sound.path.read_bytes(), sound.path.with_suffix(".json")
    if damage == "zeroed":
        sound.path.write_bytes(content[:128] + bytes(len(content) - 128))
    elif damage == "truncated":
        sound.path.write_bytes(content[: len(content) // 2])
    elif damage == "other bytes":
        sound.path.write_bytes(content[:-1] + b"x")
    elif damage == "no notes":
        notes.unlink()
    else:
        notes.write_text('{"sha256": "ab"}')
    with pytest.warns(UserWarning, match=rf"{sound.path.name}: .*; the features are made again"):
        again = prepared(clips_of(root), model, tmp_path)
    assert again.path.read_bytes() == content
    assert json.loads(notes.read_text())["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_clip_that_cannot_be_read_is_left_out_and_named(
    root: Path, tmp_path: Path, model: AudioSpectrogramTransformer
) -> None:
    whole = prepared(clips_of(root), model, tmp_path)
    (root / "audio" / "01.wav").write_bytes(b"RIFFhalf")
    (root / "audio" / "66.wav").write_bytes(b"")
    for _ in range(2):  # and from the cache
        found = prepared(clips_of(root), model, tmp_path)
        assert list(found.skipped) == ["01.wav", "66.wav"]
        assert "66.wav: the file is empty" in found.skipped["66.wav"]
        kept = [index for index in range(70) if index not in (1, 66)]
        assert found.ids == tuple(whole.ids[index] for index in kept)
        np.testing.assert_array_equal(found.labels, whole.labels[kept])
        np.testing.assert_allclose(found.open(), whole.open()[kept], atol=1e-6)
    for path in (root / "audio").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"not one clip could be read; the first says: .*00.wav: the file is empty"):
        prepared(clips_of(root), model, tmp_path)


def test_features_that_fail_half_way_leave_nothing_behind(
    root: Path, tmp_path: Path, model: AudioSpectrogramTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = clips_of(root)
    monkeypatch.setattr(features, "read_clip", lambda data, index, epoch: (root / "audio" / "69.wav").unlink())
    with pytest.raises((AttributeError, FileNotFoundError)):
        prepared(ref, model, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_what_a_killed_preparation_left_is_removed_by_the_next(
    root: Path, tmp_path: Path, model: AudioSpectrogramTransformer
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder = tmp_path / "cache" / "features"
    folder.mkdir(parents=True)
    left = [folder / f".a.npy.{ended.pid}.tmp", folder / f"..a.npy.{ended.pid}.tmp.{ended.pid}.tmp"]
    at_work = folder / f".a.npy.{os.getppid()}.tmp"
    for path in (*left, at_work):
        path.write_bytes(b"half")
    prepared(clips_of(root), model, tmp_path / "cache")
    assert [path.exists() for path in (*left, at_work)] == [False, False, True]


def test_other_clips_than_a_sweep_asks_for_are_refused(
    root: Path, tmp_path: Path, model: AudioSpectrogramTransformer
) -> None:
    """As on a node whose copy of the data is not the driver's."""
    asked = clips_of(root)
    table = root / "meta" / "esc50.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match=r"esc50: the test split has other clips or classes here \(ids [0-9a-f]{12}\)"):
        prepared(asked, model, tmp_path)


def test_a_lost_file_stops_everything(root: Path, tmp_path: Path, model: AudioSpectrogramTransformer) -> None:
    asked = clips_of(root)
    (root / "audio" / "05.wav").unlink()
    with pytest.raises(DataNotFoundError, match=r"05.wav: this clip of esc50.csv is missing"):
        prepared(asked, model, tmp_path)


def test_samples_are_hashed_as_the_files_have_them() -> None:
    whole = np.array([-32768, 0, 32767], np.int16)
    assert features._clip_bytes((whole / 32768).astype(np.float32)) == whole.astype("<i2").tobytes()
    finer = np.array([0.1, 1.0], np.float32)
    assert features._clip_bytes(finer) == finer.astype("<f4").tobytes()


@real
def test_soundscapes_are_the_published_ones_and_known_by_the_hash_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create_model("ast_tiny", num_frames=192, num_classes=64)
    model.normalisation = Normalisation(mean=-4.0, std=4.0)
    published = soundscapes.load("test", count=5, seconds=2.0, cache_dir=tmp_path, progress=False)
    first = hashlib.sha256()
    for samples, labels in zip(published.waveforms[:3], published.labels[:3], strict=True):
        first.update(samples.astype("<i2").tobytes() + labels.tobytes())
    for known, matches in (("0" * 64, False), (first.hexdigest(), True)):
        committed = {"count": 3, "sha256": known}
        monkeypatch.setattr("fastast.data.soundscapes.training.furthest", lambda *_, committed=committed: committed)
        found = prepared(resolve_data(DataConfig(clips=5, seconds=2.0)), model, tmp_path / known)
        assert found.matches_reference is matches
    assert (found.clips_sha256, found.ids, found.classes) == (published.sha256, published.ids, published.classes)
    np.testing.assert_array_equal(found.labels, published.labels)
    expected = Frontend(model.geometry, model.normalisation)(torch.from_numpy(published.waveforms))
    np.testing.assert_allclose(found.open(), expected, atol=1e-5)
    assert found.cut == 5  # 198 frames
