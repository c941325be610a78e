"""Predictions on disk: logits, and the sigmoids of files of before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.records.predictions import Predictions, PredictionsError, encode_predictions, read_predictions
from bench.records.replicates import ScoreReplicates, read_kept
from bench.records.store import Store, read_record
from fastast.data.soundscapes.pool import pool_path
from fastast.data.soundscapes.training import Soundscapes
from fastast.metrics import measure_scores

RESULTS = Path(__file__).parents[3] / "results"
HASHES = {"ids_sha256": "ab", "labels_sha256": "cd"}


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_logits_come_back_to_the_last_bit(tmp_path: Path, activation: str) -> None:
    logits = np.random.default_rng(0).normal(0, 30, (5, 3)).astype(np.float32)
    path = Store(tmp_path, "abacus", "cheap").write_predictions("0" * 12, Predictions(logits, activation), HASHES)
    read, hashes = read_predictions(path)
    assert (read.activation, hashes) == (activation, HASHES)
    assert read.values.dtype == np.float32
    np.testing.assert_array_equal(read.values, logits)
    assert not list(tmp_path.rglob("*.tmp"))


def test_scores_of_before_are_what_they_were(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((5, 3)).astype(np.float16)
    np.savez_compressed(tmp_path / "old.npz", scores=scores, **HASHES)
    read, hashes = read_predictions(tmp_path / "old.npz")
    assert (read.activation, hashes) == (None, HASHES)
    np.testing.assert_array_equal(read.ranking, scores.astype(float))
    np.testing.assert_array_equal(read.scores, scores.astype(float))
    again, _ = read_predictions(Store(tmp_path, "a", "b").write_predictions("1" * 12, read, hashes))
    np.testing.assert_array_equal(again.scores, read.scores)


def damaged(how: str) -> bytes:
    """A file of predictions, damaged as fuzzing found it, by the layout of zip files (APPNOTE 4.3)."""
    content = bytearray(encode_predictions(Predictions(np.ones((50, 4), np.float32), "sigmoid"), HASHES))
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    if how == "cut":
        return bytes(content[:-40])
    if how == "newer zip":
        content[central + 6] = content[local + 4] = 99  # version needed
    elif how == "unknown compression":
        content[central + 10] = content[local + 8] = 77
    elif how == "damaged data":
        start = local + 30 + content[local + 26] + content[local + 28]
        content[start : start + 4] = b"\xff\xff\xff\xff"
    elif how == "text":
        return b"ids,scores\n"
    return bytes(content)


@pytest.mark.parametrize("how", ["cut", "newer zip", "unknown compression", "damaged data", "text"])
def test_a_damaged_file_is_refused_in_one_line_that_says_what_to_do(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(damaged(how))
    with pytest.raises(
        PredictionsError, match=r"a.npz: not a whole file of predictions \([^\n]*\); delete it and .*[^\n]$"
    ):
        read_predictions(path)
    path.write_bytes(damaged("not at all"))
    assert read_predictions(path)[1] == HASHES


@pytest.mark.slow
@pytest.mark.skipif(not pool_path().exists(), reason="the recordings come with the repository only")
def test_published_predictions_still_give_their_records_numbers() -> None:
    paths = sorted(RESULTS.rglob("predictions/*.npz"))
    assert len(paths) > 10
    labels: dict[tuple[float, int], np.ndarray] = {}
    for path in paths:
        record = read_record(path.parents[1] / f"{path.stem}.json")
        asked = record.cell.question["workload"]
        key = asked["seconds"], asked["clips"]
        if key not in labels:
            data = Soundscapes(seconds=key[0], test_clips=key[1]).split("test")
            labels[key] = np.stack([data.labels(index, 0) for index in range(len(data))])
        kept, _ = read_kept(path)
        if isinstance(kept, ScoreReplicates):
            assert kept.value == pytest.approx(record.quality.mAP, abs=1e-12)
            continue
        found = measure_scores(labels[key], kept.ranking)
        assert found.mAP == pytest.approx(record.quality.mAP, abs=1e-12)
        assert pytest.approx(found.AUC, abs=1e-12) == record.quality.AUC
