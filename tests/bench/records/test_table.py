"""The table beside records says of itself whether it is behind."""

from __future__ import annotations

import io
import os

import cheap_runners
import pandas as pd
import pytest

from bench.records.store import read_records, record_bytes
from bench.records.table import TABLE, is_behind, write_table


@pytest.fixture
def folder(tmp_path):
    cheap_runners.run([cheap_runners.cell("fine", number) for number in range(3)], tmp_path, io.StringIO())
    (found,) = tmp_path.glob("*/cheap")
    return found


def test_a_table_that_a_run_wrote_is_not_behind(folder):
    assert not is_behind(folder)


def test_a_table_is_behind_where_records_came_went_or_changed(folder):
    table, records = folder / TABLE, sorted(folder.glob("*.json"))
    text, kept = table.read_text(), records[0].read_bytes()
    records[0].unlink()
    assert is_behind(folder)
    records[0].write_bytes(kept)
    write_table(folder)
    assert not is_behind(folder)
    later = table.stat().st_mtime_ns + 10**9
    os.utime(records[1], ns=(later, later))
    assert is_behind(folder)
    table.write_text(text.replace("clips_per_s,", "speed,", 1))  # of another version
    assert is_behind(folder)
    table.unlink()
    assert is_behind(folder)


def test_a_table_that_is_written_again_has_a_row_for_every_record(folder):
    (folder / TABLE).write_text("nonsense")
    assert is_behind(folder)
    write_table(folder)
    assert sorted(pd.read_csv(folder / TABLE).cell.astype(str)) == sorted(one.cell.id for one in read_records(folder))


def test_the_content_of_a_record_is_what_a_store_writes(folder):
    for path in folder.glob("*.json"):
        (record,) = (one for one in read_records(folder) if one.cell.id == path.stem)
        assert record_bytes(record) == path.read_bytes()
