"""Differences to the unmerged model after its cell failed, or was measured again: as if it had come first.

What a model says of clips is drawn from a seed here; that no cell runs twice is counted by the launcher itself.
"""

from __future__ import annotations

import io
import shutil
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import cheap_runners
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from bench.cell import worker
from bench.cell.answers import Answer, Context
from bench.cell.feature_set import FeatureSet
from bench.records.gather import gather_results
from bench.records.store import Store
from bench.records.table import write_table
from bench.run.driver import Options, run_sweep
from bench.run.isolation import Outcome
from bench.run.launchers import Ended
from bench.run.progress import Progress
from bench.run.settled import keep_in_mind, settled
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep
from bench.sweep.listing import place_of

SWEEP, CLIPS = find_sweep("smoke"), 32
OVERRIDES = ('kinds=["quality"]', "grid.r=[0, 20, 40]", 'grid.device=["cpu"]')
MACHINE, SOFTWARE = cheap_runners.probe("cpu", None)


@cache
def cells():
    return expand(load_sweep(SWEEP, OVERRIDES))


class Models:
    """A launcher whose models say of every clip what a seed draws; `failing` are ids of cells that end in an error."""

    def __init__(self, folder, failing=()):
        data, chosen = cells()[0].data.open()
        path = folder / "numbers.npy"
        np.save(path, np.arange(CLIPS, dtype=np.float32)[:, None, None])  # (n, 1, 1): a clip is its number
        self.features = FeatureSet(
            path=path, ids=tuple(map(data.id, chosen)), labels=cells()[0].data.labels(), classes=tuple(data.classes),
            clips_sha256="0", matches_reference=None,
        )  # fmt: skip
        self.failing, self.seeds, self.ran = failing, Counter(), []

    def survey(self, cells, progress):
        return {"cpu": (MACHINE, SOFTWARE)}

    def prepare(self, cells, cache, progress):
        pass

    def run(self, jobs, progress):
        for job in jobs:
            self.ran.append(job.cell.id)
            outcome = Outcome(status="error", message="no luck")
            if job.cell.id not in self.failing:
                outcome = Outcome(status="ok", value=self.answer(job.cell, job.reference()))
            now = datetime.now(UTC)
            yield Ended(
                cell=job.cell, outcome=outcome, machine=MACHINE, software=SOFTWARE, started=now, finished=now,
                load=(None, None),
            )  # fmt: skip

    def answer(self, cell, reference):
        rng = np.random.default_rng([int(cell.id, 16), self.seeds[cell.id]])
        said = torch.from_numpy(rng.normal(self.features.labels * 2.0, 1).astype(np.float32))
        context = Context(features=self.features, reference=reference)
        begun = Answer(machine=MACHINE, software=SOFTWARE)
        return worker._measure_quality(cell, lambda clips: said[clips[:, 0, 0].long()], None, context, begun)


def go(models, results, **options):
    models.ran.clear()
    said = io.StringIO()
    with Progress(said) as progress:
        asked = Options(results=results, cache=results, **options)
        summary = run_sweep("smoke", cells(), asked, progress=progress, launcher=models)
    return summary, said.getvalue()


def qualities(results):
    store = Store(results, MACHINE.key, "smoke")
    return {cell.id: store.read(cell.id).quality for cell in cells() if store.read(cell.id).quality is not None}


@pytest.fixture
def whole(tmp_path):
    """Qualities of a run in which nothing failed."""
    go(Models(tmp_path), tmp_path / "whole")
    return qualities(tmp_path / "whole")


def test_the_difference_to_a_cell_that_failed_first_comes_without_running_a_model(tmp_path, whole, monkeypatch):
    monkeypatch.setenv("FASTAST_CACHE", str(tmp_path / "cache"))
    unmerged, *merged = (cell.id for cell in cells())
    results = tmp_path / "results"
    models = Models(tmp_path, failing=(unmerged,))
    go(models, results)
    assert [quality.delta for quality in qualities(results).values()] == [None, None]
    models.failing = ()
    _, said = go(models, results, retry_failed=True)
    assert models.ran == [unmerged]
    assert "Compared again with the unmerged model, which was measured after them: 2 cells" in said
    for cell in merged:
        assert qualities(results)[cell].delta == whole[cell].delta
    table = (results / MACHINE.key / "smoke/cells.csv").read_text()
    assert all(repr(whole[cell].delta.mAP) in table for cell in merged)
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*.json")}
    assert go(models, results, retry_failed=True)[0].before == {"ok": 3}
    assert models.ran == []
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*.json")} == before


def test_a_difference_is_of_the_unmerged_model_as_it_was_measured_last(tmp_path, whole, monkeypatch):
    monkeypatch.setenv("FASTAST_CACHE", str(tmp_path / "cache"))
    unmerged, *merged = (cell.id for cell in cells())
    results, models = tmp_path / "whole", Models(tmp_path)
    models.seeds[unmerged] = 1  # it says something else now
    Store(results, MACHINE.key, "smoke").path(unmerged).unlink()
    go(models, results)
    assert models.ran == [unmerged]
    now = qualities(results)
    assert now[unmerged].mAP != whole[unmerged].mAP
    labels, heard = models.features.labels, models.features.labels.any(axis=0)
    for cell in merged:
        scores = []
        for one in (cell, unmerged):
            with np.load(results / MACHINE.key / "smoke/predictions" / f"{one}.npz") as stored:
                scores.append(average_precision_score(labels[:, heard], stored["logits"][:, heard]))
        assert now[cell].delta.mAP == pytest.approx(scores[0] - scores[1], abs=1e-9)
        low, high = now[cell].delta.interval
        assert low < now[cell].delta.mAP < high


def test_a_difference_that_cannot_be_computed_is_said_and_not_left_as_it_was(tmp_path, whole):
    unmerged, first, second = (cell.id for cell in cells())
    results, models = tmp_path / "whole", Models(tmp_path)
    models.seeds[unmerged] = 1
    store = Store(results, MACHINE.key, "smoke")
    store.path(unmerged).unlink()
    store.predictions_path(first).unlink()
    _, said = go(models, results)
    assert f"{cells()[1].title}: no difference to the unmerged model: " in said
    assert "--redo measures it again" in said
    assert qualities(results)[first].delta is None
    assert qualities(results)[second].delta is not None


@pytest.mark.parametrize("lost", [1, 2])
def test_what_could_not_be_computed_is_not_counted_among_what_was_compared_again(tmp_path, whole, lost):
    unmerged, *merged = (cell.id for cell in cells())
    results, models = tmp_path / "whole", Models(tmp_path)
    models.seeds[unmerged] = 1
    store = Store(results, MACHINE.key, "smoke")
    store.path(unmerged).unlink()
    for cell in merged[:lost]:
        store.predictions_path(cell).unlink()
    _, said = go(models, results)
    assert said.count("no difference to the unmerged model: ") == lost
    assert said.count("Compared again with the unmerged model") == 2 - lost
    assert ("measured after them: 1 cells" in said) == (lost == 1)


def test_the_newer_of_two_gathered_differences_is_that_to_the_later_reference(tmp_path, whole):
    unmerged, *merged = (cell.id for cell in cells())
    ours, into, models = tmp_path / "whole", tmp_path / "all", Models(tmp_path)
    shutil.copytree(ours, tmp_path / "theirs")
    models.seeds[unmerged] = 1
    Store(tmp_path / "theirs", MACHINE.key, "smoke").path(unmerged).unlink()
    go(models, tmp_path / "theirs")
    for sources in ((ours, tmp_path / "theirs"), (tmp_path / "theirs", ours)):
        shutil.rmtree(into, ignore_errors=True)
        for source in sources:
            gather_results([source], into, keep="newer")
        found = qualities(into)
        assert found[unmerged].mAP != whole[unmerged].mAP
        for cell in merged:
            assert found[cell].delta.mAP == pytest.approx(found[cell].mAP - found[unmerged].mAP, abs=1e-9)


@pytest.mark.skipif(any(Path("/dev").glob("nvidia*")), reason="nothing is remembered where a GPU may be")
def test_a_run_with_a_difference_to_renew_is_not_over_at_once(tmp_path, whole, monkeypatch):
    monkeypatch.setenv("FASTAST_CACHE", str(tmp_path / "cache"))
    results, models = tmp_path / "whole", Models(tmp_path)
    summary, _ = go(models, results)
    listed = place_of(SWEEP, OVERRIDES)
    keep_in_mind(SWEEP, OVERRIDES, load_sweep(SWEEP, OVERRIDES), cells(), summary, listed)
    store = Store(results, MACHINE.key, "smoke")

    def is_over():
        with Progress(io.StringIO()) as progress:
            return settled(SWEEP, OVERRIDES, Options(results=results, cache=results), progress) is not None

    assert is_over()
    record = store.read(cells()[1].id)
    store.write(record.model_copy(update={"quality": record.quality.model_copy(update={"delta": None})}))
    write_table(store.folder)
    assert not is_over()
    go(models, results)
    assert is_over()
    assert qualities(results) == whole
