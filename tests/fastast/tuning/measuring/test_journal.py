"""A journal that goes on where it stopped, of one question and one writer."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastast.tuning.measuring.journal import Journal
from fastast.tuning.target import TuningError


def test_a_journal_goes_on_and_measures_nothing_twice(tmp_path: Path) -> None:
    path, question = tmp_path / "a.journal", {"model": "m", "clips": 3}
    journal = Journal(path, question)
    assert journal.get("one", lambda: [1.0, 2.0]) == [1.0, 2.0]
    journal.close()
    with path.open("a") as file:
        file.write('{"key": "two", "val')  # killed while it wrote
    again = Journal(path, question)
    assert again.found == 1
    assert again.get("one", lambda: pytest.fail("measured twice")) == [1.0, 2.0]
    assert again.get("two", lambda: 5) == 5
    again.close()
    third = Journal(path, question)
    assert third.found == 2
    third.close()


def test_a_journal_of_another_question_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "a", {"model": "m"}).close()
    with pytest.raises(TuningError, match="model was 'm' and is now 'other'"):
        Journal(tmp_path / "a", {"model": "other"})
    (tmp_path / "b").write_text("hello\n")
    with pytest.raises(TuningError, match="not a journal of `fastast tune`"):
        Journal(tmp_path / "b", {"model": "m"})


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    first = Journal(tmp_path / "a", {})
    with pytest.raises(TuningError, match="another process is writing to this file"):
        Journal(tmp_path / "a", {})
    first.close()
