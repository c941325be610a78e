"""The soundscapes data set: splits, licences, and clips that are the same however they come about."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastast.data import soundscapes
from fastast.data.soundscapes import (
    CLASSES,
    LEAVES,
    PARENTS,
    SoundscapeClips,
    SoundscapesError,
    generate,
    load,
    pool,
    reference,
)
from fastast.data.soundscapes.cache import BlockStore, default_folder

ROOT = Path(__file__).parents[3]
ASSETS = ROOT / "fastast" / "assets" / "soundscapes"


def table(name: str) -> list[dict[str, str]]:
    with (ASSETS / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def clips(folder: Path, count: int, **more: Any) -> SoundscapeClips:
    return load("test", count=count, cache_dir=folder, progress=False, **more)


def block(folder: Path) -> Path:
    """The one cached block."""
    (path,) = folder.rglob("*.clips")
    return path


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SoundscapeClips]:
    """A cache with 9 test clips, and the clips; no hash of so few is committed, so another decoder is no warning."""
    folder = tmp_path_factory.mktemp("cache")
    return folder, clips(folder, 9)


@pytest.fixture
def cache(nine: tuple[Path, SoundscapeClips], tmp_path: Path) -> tuple[Path, SoundscapeClips]:
    """A copy of that cache that may be damaged."""
    source = block(nine[0])
    copy = tmp_path / source.relative_to(nine[0])
    copy.parent.mkdir(parents=True)
    copy.write_bytes(source.read_bytes())
    return tmp_path, nine[1]


@pytest.fixture
def no_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point to a folder without audio: whatever is not cached now is an error."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.setenv("FASTAST_SOUNDSCAPES", str(folder))
    return folder


# ---- what is in it


def test_classes_are_59_leaves_under_5_parents() -> None:
    assert len(CLASSES) == 64
    assert list(CLASSES) == sorted(set(CLASSES))
    assert set(LEAVES) == {row["class"] for row in table("sources.csv")}
    above = {parent for parents in PARENTS.values() for parent in parents}
    assert above == {"Animal", "Music", "Percussion", "Speech", "Vehicle"}
    assert set(LEAVES) == set(CLASSES) - above
    assert PARENTS["Snare drum"] == ("Percussion", "Music")
    assert "Wind" not in PARENTS


def test_the_readme_counts_what_is_there() -> None:
    rows, text = table("sources.csv"), (ASSETS / "README.md").read_text(encoding="utf-8")
    hours = sum(float(row["seconds"]) for row in rows) / 3600
    assert f"{len(rows):,} recordings and sampled notes, {hours:.2f} hours" in text
    listed = re.findall(r"^- [^:]+: (.*)$", text.split("## Classes")[1].split("## Licences")[0], re.MULTILINE)
    assert sorted(name for line in listed for name in line.split(", ")) == sorted(leaf.lower() for leaf in LEAVES)


def test_every_split_has_every_class() -> None:
    for split in ("train", "val", "test"):
        assert {row["class"] for row in table("sources.csv") if row["split"] == split} == set(LEAVES)


def test_no_recording_and_no_group_is_in_two_splits() -> None:
    splits: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in table("sources.csv"):
        splits["group", row["group"]].add(row["split"])
    for row in table("attribution.csv"):
        # A note of a sound font has no file of its own: the font's program stands in the column.
        splits["file", row["package"], row["file"]].add(row["split"])
    assert len(splits) > 3000
    assert {key for key, found in splits.items() if len(found) > 1} == set()


def test_every_source_has_its_audio() -> None:
    with tarfile.open(ASSETS / "pool.tar") as archive:
        audio = {member.name for member in archive if member.isfile()}
    assert audio == {f"{row['split']}/{row['source']}.opus" for row in table("sources.csv")}


def test_audio_has_the_length_that_recipes_count_on() -> None:
    import soundfile

    sources = table("sources.csv")[::500]
    with tarfile.open(ASSETS / "pool.tar") as archive:
        for row in sources:
            file = archive.extractfile(f"{row['split']}/{row['source']}.opus")
            assert file is not None
            info = soundfile.info(file)
            assert (info.frames, info.channels) == (round(float(row["seconds"]) * 16000), 1)


def test_every_source_has_a_licence_an_author_and_a_notice() -> None:
    rows = table("attribution.csv")
    sources = {(row["source"], row["split"], row["class"]) for row in table("sources.csv")}
    assert {(row["source"], row["split"], row["class"]) for row in rows} == sources
    assert len(rows) == len(sources)
    texts = {path.stem for path in (ASSETS / "LICENSES").glob("*.txt")}
    for row in rows:
        assert row["authors"].strip()
        assert row["package_version"].strip()
        assert row["notice"] == f"LICENSES/{row['package']}.copyright"
        for licence in re.split(" AND | OR ", row["licence"]):
            assert re.sub("-(only|or-later)$", "", licence) in texts, row
    for notice in {row["notice"] for row in rows}:
        text = (ASSETS / notice).read_text(encoding="utf-8")
        assert re.search("copyright", text, re.IGNORECASE)


# ---- what comes out


def test_labels_are_closed_under_parents(nine: tuple[Path, SoundscapeClips]) -> None:
    labels = nine[1].labels
    column = {name: i for i, name in enumerate(CLASSES)}
    assert labels.shape == (9, 64)
    assert set(np.unique(labels)) == {0, 1}
    for leaf, parents in PARENTS.items():
        for parent in parents:
            assert (labels[:, column[parent]] >= labels[:, column[leaf]]).all()
    for parent in {parent for parents in PARENTS.values() for parent in parents}:
        below = [column[leaf] for leaf, parents in PARENTS.items() if parent in parents]
        assert (labels[:, column[parent]] <= labels[:, below].sum(1)).all()


def test_clips_are_described(nine: tuple[Path, SoundscapeClips]) -> None:
    found = nine[1]
    assert found.ids[:2] == ("test_00000", "test_00001")
    assert found.waveforms.shape == (9, 80_000)
    assert found.waveforms.dtype == np.int16
    assert (found.split, found.seconds, found.sample_rate, len(found)) == ("test", 5.0, 16_000, 9)
    by_hand = hashlib.sha256()
    for waveform, label in zip(found.waveforms, found.labels, strict=True):
        by_hand.update(waveform.astype("<i2").tobytes())
        by_hand.update(label.tobytes())
    assert found.sha256 == by_hand.hexdigest()


def test_the_committed_hashes_hold(cache: tuple[Path, SoundscapeClips]) -> None:
    entry = next(e for e in json.loads((ASSETS / "reference.json").read_text())["sets"] if e["split"] == "test")
    assert (entry["count"], entry["seconds"]) == (10, 5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ten = clips(cache[0], 10)
    assert ten.recipe_sha256 == entry["recipe_sha256"]
    # Another Opus decoder may round otherwise: then the flag must say so.
    assert ten.matches_reference == (ten.sha256 == entry["sha256"])
    assert clips(cache[0], 9).matches_reference is None


@pytest.mark.parametrize(
    ("split", "seconds", "count"), [("test", 5.0, 2_000), ("test", 10.0, 500), ("val", 5.0, 1_000), ("train", 5.0, 400)]
)
def test_all_recipes_are_the_committed_ones(split: str, seconds: float, count: int) -> None:
    committed = json.loads((ASSETS / "reference.json").read_text())["sets"]
    entries = [entry for entry in committed if (entry["split"], entry["seconds"]) == (split, seconds)]
    assert max(entry["count"] for entry in entries) == count
    found = reference.recipe_hashes(split, seconds, count, at=range(count))
    assert [found[entry["count"]] for entry in entries] == [entry["recipe_sha256"] for entry in entries]


@pytest.mark.parametrize(("split", "seconds"), [("val", 5.0), ("test", 10.0), ("train", 2.5)])
def test_other_splits_and_lengths(tmp_path: Path, split: str, seconds: float) -> None:
    found = load(split, count=1, seconds=seconds, cache_dir=tmp_path, progress=False)
    assert found.waveforms.shape == (1, seconds * 16000)
    assert np.abs(found.waveforms).max() > 300
    assert found.labels.sum() >= 1


def test_clips_do_not_depend_on_count_workers_or_cache(nine: tuple[Path, SoundscapeClips], tmp_path: Path) -> None:
    alone = clips(tmp_path, 3, workers=1)
    np.testing.assert_array_equal(alone.waveforms, nine[1].waveforms[:3])
    np.testing.assert_array_equal(alone.labels, nine[1].labels[:3])
    more = clips(tmp_path, 9, workers=3)
    assert more.sha256 == nine[1].sha256


def test_blocks_are_put_together_in_order(
    nine: tuple[Path, SoundscapeClips], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "BLOCK_CLIPS", 5)
    assert clips(tmp_path, 9).sha256 == nine[1].sha256
    assert sorted(path.name for path in tmp_path.rglob("*.clips")) == [f"0000{i}.clips" for i in range(2)]
    assert clips(tmp_path, 9).sha256 == nine[1].sha256


# ---- the cache


def test_a_larger_set_serves_a_smaller_one(cache: tuple[Path, SoundscapeClips], no_pool: Path) -> None:
    small = clips(cache[0], 4)
    np.testing.assert_array_equal(small.waveforms, cache[1].waveforms[:4])
    with pytest.raises(FileNotFoundError):
        clips(cache[0], 10)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_cache_is_reported_and_mixed_again(cache: tuple[Path, SoundscapeClips], damage: str) -> None:
    path = block(cache[0])
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[100_000] ^= 1
    path.write_bytes(content if damage == "flipped" else content[:200_000] if damage == "cut" else b"")
    with pytest.warns(UserWarning, match=rf"{path.name}: damaged .* mixed again"):
        assert clips(cache[0], 9).sha256 == cache[1].sha256
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clips(cache[0], 9).sha256 == cache[1].sha256


def test_half_written_files_are_ignored(cache: tuple[Path, SoundscapeClips], no_pool: Path) -> None:
    path = block(cache[0])
    path.with_name("00000.clips.dead.tmp").write_bytes(path.read_bytes()[:1000])
    assert clips(cache[0], 9).sha256 == cache[1].sha256


def test_a_process_killed_while_it_writes_leaves_the_old_block(
    cache: tuple[Path, SoundscapeClips], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = block(cache[0]), block(cache[0]).read_bytes()
    store = BlockStore(folder=path.parent, record=np.dtype([("waveform", "<i2", (4,)), ("labels", "u1", (2,))]))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastast.data.soundscapes.cache.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.write(0, np.zeros(3, store.record))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_two_processes_mix_at_once(nine: tuple[Path, SoundscapeClips], tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from fastast.data.soundscapes import load; "
        f"print(load('test', count=9, cache_dir=Path({str(tmp_path)!r}), progress=False).sha256)"
    )
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0].strip() for process in running]
    assert printed == [nine[1].sha256] * 2
    assert [file.name for file in block(tmp_path).parent.iterdir()] == ["00000.clips"]
    assert clips(tmp_path, 9).sha256 == nine[1].sha256


def test_a_disk_that_refuses_is_reported_and_the_clips_still_come(
    nine: tuple[Path, SoundscapeClips], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastast.system.writing.os.replace", full)
    with pytest.warns(
        UserWarning, match=r"cannot be kept \(No space left on device: nothing was written\).*FASTAST_CACHE"
    ):
        np.testing.assert_array_equal(clips(tmp_path, 2).waveforms, nine[1].waveforms[:2])


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("FASTAST_CACHE", raising=False)
    assert default_folder() == tmp_path / "xdg" / "fastast"
    monkeypatch.setenv("FASTAST_CACHE", str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("FASTAST_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "fastast"


# ---- what is said


def test_progress_says_what_it_does_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load("test", count=2, cache_dir=tmp_path)
    assert "soundscapes: mixing 2 test clips (5 s)" in capfd.readouterr().err.replace("\n", " ")
    load("test", count=3, cache_dir=tmp_path)
    assert "soundscapes: mixing 1 test clips (5 s)" in capfd.readouterr().err.replace("\n", " ")
    load("test", count=3, cache_dir=tmp_path)
    clips(tmp_path, 4)
    assert capfd.readouterr() == ("", "")


def test_other_recipes_are_an_error(cache: tuple[Path, SoundscapeClips], monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"split": "test", "seconds": 5.0, "count": 10, "recipe_sha256": "0" * 64, "sha256": "1" * 64}
    monkeypatch.setattr(reference, "committed", lambda: {"sets": [known]})
    with pytest.raises(SoundscapesError, match=r"first 10 test clips .* not 0{64}: .*would be other clips"):
        clips(cache[0], 10)


def test_other_audio_is_a_warning_and_a_flag(
    cache: tuple[Path, SoundscapeClips], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = cache[1].recipe_sha256
    known = {"split": "test", "seconds": 5.0, "count": 9, "recipe_sha256": recipes, "sha256": "1" * 64}
    monkeypatch.setattr(reference, "committed", lambda: {"sets": [known]})
    with pytest.warns(UserWarning, match=r"have sha256 [0-9a-f]{64}, not 1{64}: .* not comparable bit for bit"):
        assert clips(cache[0], 9).matches_reference is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tets"}, r"unknown split .*'tets'. Did you mean 'test'\? There are: train, val, test"),
        ({"count": 0}, "count is 0; it must be an integer from 1 to 100,000"),
        ({"count": 100_001}, "count is 100001"),
        ({"count": 2.5}, "count is 2.5"),
        ({"count": True}, "count is True"),
        ({"seconds": -5}, "seconds is -5; .* from 2 to 60"),
        ({"seconds": 1.9}, "seconds is 1.9"),
        ({"seconds": 61}, "seconds is 61"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": 5.00001}, "whole milliseconds"),
        ({"seconds": "5"}, "seconds is '5'"),
        ({"count": 100_000, "seconds": 60.0}, "6,000,000 s; one set holds at most 500,000 s"),
        ({"workers": 0}, "workers is 0; it must be an integer of at least 1"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SoundscapesError, match=message):
        load(**({"split": "test", "count": 1, "cache_dir": tmp_path} | arguments))


def test_a_cache_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SoundscapesError, match="file: a file, but mixed clips are cached in a folder"):
        clips(tmp_path / "file", 1)


def test_missing_audio_says_where_to_get_it(no_pool: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pool\.tar: .*clone the repository, or set FASTAST_SOUNDSCAPES="):
        clips(tmp_path / "cache", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, .* git lfs pull"),
        (b"\0" * 5000, "cut off: 5,000 bytes of 35,502,080; .*clone the repository"),
        (None, "not the audio of this version: 35,502,081 bytes, sha256"),
    ],
)
def test_damaged_audio_is_named(no_pool: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    (no_pool / "pool.tar").write_bytes((ASSETS / "pool.tar").read_bytes() + b"!" if content is None else content)
    with pytest.raises(SoundscapesError, match=message) as caught:
        clips(tmp_path / "cache", 1)
    assert str(no_pool / "pool.tar") in str(caught.value)


def test_audio_of_another_folder_is_used(nine: tuple[Path, SoundscapeClips], no_pool: Path, tmp_path: Path) -> None:
    (no_pool / "pool.tar").symlink_to(ASSETS / "pool.tar")
    assert pool.pool_path() == no_pool / "pool.tar"
    np.testing.assert_array_equal(clips(tmp_path / "cache", 1).waveforms, nine[1].waveforms[:1])


def test_defaults_are_the_published_sizes() -> None:
    assert soundscapes.DEFAULT_COUNTS["test"] == 2_000
    assert "2,000" in (soundscapes.load.__doc__ or "")
