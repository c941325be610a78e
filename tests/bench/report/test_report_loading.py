"""A report says how fast clips came and went, and which side limits; of records that do not know, nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import records as made

from bench.measure.loading import Loading, Preparation
from bench.records.schema import Record
from bench.report.frame import join
from bench.report.loading import loading_text
from bench.report.render import write_report
from bench.report.tables.markdown import markdown

MADE = Preparation(
    source="files", clips=1000, readers=2, seconds=2.5, core_seconds=4.0, read_core_seconds=3.0
)  # 400 clips/s with both readers, 250 per core


def with_loading(record: Record, *, cached: float = 0.01, model: float = 1.0, **changes: object) -> Record:
    """`cached` and `model`: seconds for 96 clips."""
    usual: dict[str, object] = {"preparation": MADE, "reused": False, "clips": 96}
    loading = Loading(**usual | changes | {"cached_seconds": cached, "model_seconds": model})
    return record.model_copy(update={"quality": record.quality.model_copy(update={"loading": loading})})


def quality(schedule: str = "none", **changes: object) -> Record:
    return made.record("quality", schedule, **changes)


def test_both_rates_stand_there_and_the_side_that_limits() -> None:
    found = loading_text([with_loading(quality()), with_loading(quality("constant:40"), model=0.5)])
    assert found == (
        "Loading, clips/s: 250 per core from audio files, decoded and resampled, filterbank included (400 with 2 "
        "readers); 9,600 from the run's cache; against 96 to 192 by the model. The model limits."
    )


def test_a_model_that_is_faster_than_the_files_waits_for_them_unless_they_are_cached() -> None:
    fast = with_loading(quality("constant:40"), model=0.2)  # 480 clips/s
    assert fast.quality.loading.limits == "model"
    assert fast.quality.loading.limits_from_source == "loading"
    assert loading_text([fast]).endswith(" Without the cache loading limits, with it the model limits.")
    both = loading_text([with_loading(quality()), fast])
    assert both.endswith(
        " Without the cache loading limits 1 of 2 cells, the model the others, with it the model limits."
    )
    slow = with_loading(quality(), cached=2.0)
    assert slow.quality.loading.limits == "loading"


def test_features_that_were_there_before_are_not_this_runs() -> None:
    before = with_loading(quality(), reused=True)
    assert "(400 with 2 readers, in an earlier run)" in loading_text([before])
    both = loading_text([before, with_loading(quality("constant:40"))])
    assert "(400 with 2 readers, of 1 of 2 cells in an earlier run)" in both
    unknown = with_loading(quality(), preparation=None, reused=True)
    assert loading_text([unknown]) == (
        "Loading, clips/s: 9,600 from the run's cache, against 96 by the model; the model limits."
    )


def test_a_machine_that_did_other_things_too_is_told() -> None:
    calm = with_loading(quality())  # of two processors, as all of them
    for load, told in ((3.0, ""), (14.2, " Other processes were at work: a load average of up to 14 on 2 processors.")):
        conditions = calm.conditions.model_copy(update={"load": (load, 0.0)})
        assert loading_text([calm, calm.model_copy(update={"conditions": conditions})]).endswith(f"model limits.{told}")


def test_machines_are_told_apart_and_failures_left_out() -> None:
    here, there = with_loading(quality()), with_loading(quality(machine="slate"), model=2.0)
    found = loading_text([here, there, made.record("quality", "constant:20", status="oom")])
    assert found.startswith("Abacus: Loading, clips/s: ")
    assert " Slate: Loading, clips/s: " in found
    assert "against 48 by the model" in found


def test_only_reports_of_records_that_know_say_it(tmp_path: Path) -> None:
    old = made.sweep()
    write_report(old, tmp_path / "old", sweep="invented", formats=())
    new = [with_loading(record) if record.quality else record for record in old]
    write_report(new, tmp_path / "new", sweep="invented", formats=())
    for name in ("table.md", "index.html"):
        before, after = ((tmp_path / folder / name).read_text() for folder in ("old", "new"))
        assert "The model limits." not in before
        assert "The model limits." in after
    assert (tmp_path / "new" / "brief.md").read_bytes() == (tmp_path / "old" / "brief.md").read_bytes()


@pytest.mark.parametrize("about", ["", "a < b"])
def test_what_is_said_last_is_no_markup(about: str) -> None:
    text = markdown(join(made.sweep()), about=about)
    assert text.endswith("a &lt; b\n" if about else ".\n")
