"""Work of several processes; what `bench.records.many` adds to it is tested there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastast.data.parallel import each
from fastast.system.workers import in_processes


def test_work_may_hold_what_cannot_be_sent_and_every_process_begins_once(tmp_path: Path) -> None:
    held = (number**2 for number in range(3))  # a generator cannot be pickled
    first = next(held)

    def begin() -> None:
        (tmp_path / str(os.getpid())).touch(exist_ok=False)

    found = list(in_processes(lambda number: (first, number, os.getpid()), range(40), 2, chunk=5, begin=begin))
    assert [number for _, number, _ in found] == list(range(40))
    assert {str(process) for *_, process in found} <= {path.name for path in tmp_path.iterdir()}
    assert os.getpid() not in {process for *_, process in found}


@pytest.mark.parametrize(("items", "processes"), [(range(1), 8), (range(9), 1)])
def test_one_process_or_one_item_is_worked_on_here(items: range, processes: int) -> None:
    assert set(in_processes(lambda _: os.getpid(), items, processes, chunk=1)) == {os.getpid()}


def test_clips_whose_reader_is_ended_from_outside_do_not_hang() -> None:
    with pytest.raises(RuntimeError, match="was killed"):
        list(each(range(9), lambda _: os._exit(1), what="reading", processes=2, progress=False))
