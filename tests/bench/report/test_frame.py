"""Which records stand in one row, and which cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import records as made

from bench.report import ReportError
from bench.report.frame import join
from bench.report.panels import panels
from bench.report.words import BEST_BATCH


def test_a_cell_that_failed_keeps_its_row_with_the_quality_that_is_known() -> None:
    records = [
        *(made.record("performance"), made.record("quality")),
        made.record("performance", "constant:20", status="oom", message="no memory"),
        made.record("quality", "constant:20", quality=0.48, delta=-0.02),
    ]
    joined = join(records)
    assert len(panels(joined)) == 1
    row = joined[joined["schedule"] == "constant:20"].iloc[0]
    assert (row["status"], row["mAP"], row["standing"]) == ("oom", 0.48, "")


def test_an_implausible_record_keeps_its_row_and_none_of_its_numbers() -> None:
    fast = made.record("performance", "constant:20", seconds=0.01, status="implausible", message="mac_bound: too fast")
    records = [made.record("performance"), made.record("quality"), fast]
    records.append(made.record("quality", "constant:20", quality=0.48, delta=-0.02))
    row = join(records).set_index("schedule").loc["constant:20"]
    assert (row["status"], row["mAP"], row["standing"]) == ("implausible", 0.48, "")
    assert row[["throughput", "speedup_unmerged", "latency_ms", "clips_per_s_unmerged"]].isna().all()
    assert row[["clips_per_s", "latency_p90_ms", "peak_memory_bytes", "forward_memory_bytes"]].isna().all()


def test_best_batches_are_a_panel_of_their_own_behind_the_fixed_ones() -> None:
    records = [made.record("performance", batch_size=size) for size in (8, "best")]
    records.append(made.record("performance", "constant:20", batch_size="best", seconds=0.5))
    joined = join(records)
    assert [key[-1] for key, _ in panels(joined)] == [8, BEST_BATCH]
    best = joined[joined["batch_size"] == BEST_BATCH].set_index("schedule")["throughput"]
    assert best.to_dict() == {
        "none": pytest.approx(16),
        "constant:20": pytest.approx(32),
    }  # the records' 16 clips a batch


def test_a_failure_gives_way_to_a_measured_answer_of_the_same_row() -> None:
    records = [made.record("performance", seconds=2.0, status="oom", message="no memory"), made.record("performance")]
    assert join(records)["status"].tolist() == ["ok"]


def test_nothing_but_failures_is_a_frame_too() -> None:
    records = [made.record(kind, status="error", message="broken") for kind in ("performance", "quality")]
    joined = join(records)
    assert joined[["status", "quality_status"]].to_numpy().tolist() == [["error", "error"]]
    assert joined["throughput"].isna().all()


def test_two_answers_for_one_row_are_refused_with_their_cells() -> None:
    old, new = made.record("performance", seconds=1.0), made.record("performance", seconds=1.1)
    when = r"\.json \(2026-01-02T00:00\)"
    says = rf"records {old.cell.id}{when}, {new.cell.id}{when} of sweep 'invented' on abacus"
    with pytest.raises(ReportError, match=says):
        join([old, new])


def test_qualities_of_different_clips_are_refused() -> None:
    records = [made.record("quality", clips=10), made.record("quality", "constant:20", clips=20, delta=0.0)]
    with pytest.raises(ReportError, match="of different clips .* 10 clips .* 20 clips"):
        join(records)


def test_attention_kernels_are_compared_with_the_one_unmerged_model() -> None:
    records = [
        made.record("performance"),
        made.record("performance", seconds=2.0, attention="math"),  # half as fast as the unmerged model beside it
        made.record("performance", "constant:20", seconds=0.5, attention="key_column"),
    ]
    joined = join(records)
    assert len(panels(joined)) == 1
    # 8 clips in 1 s unmerged.
    found = joined.set_index("attention")["throughput"].to_dict()
    assert found == {"auto": pytest.approx(8), "math": pytest.approx(4), "key_column": pytest.approx(16)}


def test_models_are_compared_in_the_interval_of_their_paired_difference() -> None:
    joined = join(made.sweep())
    assert joined["paired"].all()
    row = joined[joined["schedule"] == "constant:20"].iloc[0]
    # 0.48, of which the difference to 0.50 is known to 0.001.
    assert (row["compared_low"], row["compared_high"]) == (pytest.approx(0.479), pytest.approx(0.481))
    unmerged = joined[joined["method"] == "none"].iloc[0]
    assert unmerged["compared_low"] == unmerged["compared_high"] == unmerged["mAP"]


def test_without_differences_they_are_compared_in_their_own_intervals() -> None:
    records = [*made.sweep(), made.record("quality", "decreasing:20", quality=0.4)]
    records += [made.record("performance", "decreasing:20", batch_size=batch) for batch in (1, 8)]
    joined = join(records)
    assert not joined["paired"].any()
    assert joined["compared_low"].tolist() == joined["mAP_low"].tolist()


def test_clips_with_one_label_are_compared_by_their_accuracy() -> None:
    """Its mAP says the opposite."""
    records = [
        made.record("performance"),
        made.record("performance", "constant:20", seconds=0.5),
        made.record("quality", quality=0.5, accuracy=0.9),
        made.record("quality", "constant:20", quality=0.6, delta=-0.05, accuracy=0.8),
    ]
    joined = join(records).set_index("schedule")
    merged = joined.loc["constant:20"]
    assert (merged["score_name"], merged["score"], merged["mAP"]) == ("accuracy", 0.8, 0.6)
    assert merged["delta_score"] == merged["delta_accuracy"] == pytest.approx(-0.1)
    assert (merged["compared_low"], merged["compared_high"]) == pytest.approx((0.798, 0.802))
    assert joined["standing"].tolist() == ["front", "front"]  # by mAP the unmerged model would be dominated


def test_clips_with_several_labels_are_compared_by_their_map() -> None:
    joined = join(
        [made.record("quality", quality=0.5), made.record("quality", "constant:20", quality=0.48, delta=-0.02)]
    )
    assert joined["score"].tolist() == joined["mAP"].tolist() == [0.5, 0.48]
    assert set(joined["score_name"]) == {"mAP"}
