"""Times under one key that are of two machines, or of two versions of PyTorch, do not stand together."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import records as made

from bench.ablation.compare import compare_alternatives
from bench.records.machines import first_unlike
from bench.records.schema import Record
from bench.records.store import Store, read_records
from bench.report.frame import ReportError, join
from bench.study.recipes import StudyError
from bench.study.speeds import speeds_of

PUBLISHED = Path(__file__).parents[3] / "results" / "cpu-amd-epyc-avx512-2-threads"


def of(record: Record, **facts: Any) -> Record:
    """The same record of another machine, under the same key."""
    cpu = {name: facts[name] for name in ("generation", "logical_cores") if name in facts}
    machine = {"cpu": record.machine.cpu.model_copy(update=cpu)}
    machine |= {name: facts[name] for name in ("device_name", "device") if name in facts}
    software = {"torch": facts["torch"]} if "torch" in facts else {}
    return record.model_copy(
        update={
            "machine": record.machine.model_copy(update=machine),
            "software": record.software.model_copy(update=software),
        }
    )


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({}, {"torch": "3.0.0"}, r"PyTorch is .* and 3\.0\.0"),
        ({}, {"logical_cores": 64}, r"processors is \d+ and 64"),
        (
            {"device_name": "Xeon CPU @ 2.20GHz"},
            {"device_name": "Xeon CPU @ 2.80GHz"},
            r"device is .*2\.20GHz and .*2\.80GHz",
        ),
        ({"generation": "25.17.1"}, {"generation": "26.2.1"}, r"generation .* is 25\.17\.1 and 26\.2\.1"),
    ],
)
def test_times_of_two_machines_under_one_key_are_refused(one: dict, other: dict, words: str) -> None:
    records = made.sweep()
    slow = next(record for record in records if record.performance and record.cell.question["reduction"])
    changed = [of(record, **(other if record is slow else one)) for record in records]
    with pytest.raises(ReportError, match=rf"cannot be compared: .*{slow.cell.id}.* {words}"):
        join(changed)


def test_what_older_records_do_not_tell_is_no_difference() -> None:
    records = made.sweep()
    told = [of(record, generation="25.17.1") if i % 2 else record for i, record in enumerate(records)]
    assert first_unlike(told) is None
    join(told)


def test_a_gpu_is_the_same_in_whatever_computer_and_quality_on_whatever_machine() -> None:
    records = made.sweep()
    on_gpu = [of(record, device="cuda", device_name="H100", logical_cores=i) for i, record in enumerate(records)]
    assert first_unlike(on_gpu) is None
    scored = [of(record, torch="3.0.0") if record.performance is None else record for record in records]
    assert first_unlike(scored) is None


def published(sweep: str, folder: Path, **facts: Any) -> Path:
    """Results of their own that have the published records of a sweep, one timed one as of another machine."""
    shutil.copytree(PUBLISHED / sweep, folder / PUBLISHED.name / sweep)
    timed = [record for record in read_records(folder) if record.performance is not None]
    assert first_unlike(timed) is None
    Store(folder, PUBLISHED.name, sweep).write(of(timed[-1], **facts))
    return folder


FACTS = pytest.mark.parametrize(
    ("facts", "words"), [({"torch": "9.9.9"}, r"PyTorch is .*9\.9\.9"), ({"logical_cores": 64}, "processors is .*64")]
)


@FACTS
def test_alternatives_that_were_timed_on_two_machines_are_not_compared(facts: dict, words: str, tmp_path: Path) -> None:
    results = published("ablation_pooling", tmp_path, **facts)
    with pytest.raises(ReportError, match=f"ablation: .*cannot be compared: .*{words}"):
        compare_alternatives(results, "ablation_pooling", labels=np.zeros((1, 1), np.uint8))


@FACTS
def test_a_study_takes_no_speeds_from_two_machines(facts: dict, words: str, tmp_path: Path) -> None:
    sweep = "soundscapes_taught_speed"
    (alike,) = speeds_of([sweep], read_records(PUBLISHED / sweep))
    assert alike.ratios
    with pytest.raises(StudyError, match=f"study: .*cannot be compared: .*{words}"):
        speeds_of([sweep], read_records(published(sweep, tmp_path, **facts)))
