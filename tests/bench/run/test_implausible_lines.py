"""The line that a person sees of a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.records.store import read_record
from bench.run.progress import result_text

OLD_RECORDS = Path(__file__).parents[1] / "records" / "old_records"


@pytest.mark.parametrize("kind", ["performance", "quality"])
def test_a_result_that_is_not_to_be_believed_is_printed_with_the_reason(kind: str) -> None:
    measured = read_record(OLD_RECORDS / f"v1_{kind}.json").model_copy(update={"message": "macs: more than 0"})
    said = result_text(measured.model_copy(update={"status": "implausible"}))
    assert said == result_text(measured.model_copy(update={"status": "ok"})) + ", macs: more than 0"
