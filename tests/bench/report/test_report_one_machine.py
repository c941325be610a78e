"""Times under one key that are of two machines, or of two versions of PyTorch, do not stand together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import records as made

from bench.records.machines import first_unlike
from bench.records.schema import Record
from bench.report.frame import ReportError, join


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
    with pytest.raises(ReportError, match=rf"cannot stand together: .*{slow.cell.id}.* {words}"):
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
