"""What stays disturbed is shown apart: on no front, in nobody's way, never the best, and in no other's throughput."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import records as made

from bench.report.figures import FIGURES, merging_figure, pareto_figure
from bench.report.frame import join
from bench.report.page import page
from bench.report.tables.cells import readable
from bench.report.tables.latex import escape, latex, stacked
from bench.report.tables.markdown import markdown
from bench.report.words import FAILURES
from bench.study.recipes import StudyError
from bench.study.speeds import speeds_of

HOG = "7 of 7 rounds were disturbed: threads waited for a processor"


def disturbed_sweep(*, seconds: float = 0.1):
    """An invented sweep in which ToMe, constant:40, seems the fastest by far, since something else was at work."""
    speed = {"none": (1.0, 1.0), "constant:20": (0.8, 1.0), "decreasing:40": (0.5, 1.0)}
    records = [made.record("performance", name, seconds=own, unmerged=base) for name, (own, base) in speed.items()]
    records.append(
        made.record("performance", "constant:40", seconds=seconds, unmerged=9.0, status="disturbed", message=HOG)
    )
    quality = {"none": 0.5, "constant:20": 0.49, "constant:40": 0.6, "decreasing:40": 0.47}
    return records + [made.record("quality", name, quality=value, delta=value - 0.5) for name, value in quality.items()]


def row(joined, schedule: str):
    return joined[joined["schedule"] == schedule].iloc[0]


def test_a_disturbed_point_is_on_no_front_and_beats_nobody():
    told = {
        schedule: row(join(disturbed_sweep()), schedule)["standing"]
        for schedule in made.TOKENS
        if schedule != "decreasing:20"
    }
    assert told == {"none": "front", "constant:20": "front", "decreasing:40": "front", "constant:40": "disturbed"}


def test_throughput_hangs_on_the_undisturbed_unmerged_model():
    joined = join(disturbed_sweep())
    assert row(joined, "none")["throughput"] == pytest.approx(8)  # 8 clips in 1 s, not in 9
    assert row(joined, "decreasing:40")["throughput"] == pytest.approx(16)
    alone = join([made.record("performance", "constant:40", seconds=3.0, unmerged=9.0, status="disturbed")])
    assert row(alone, "constant:40")["throughput"] == pytest.approx(8 / 9 * 3)  # nothing better is known


def test_its_numbers_are_marked_never_the_best_and_explained():
    joined = join(disturbed_sweep())
    text = markdown(joined)
    (line,) = [line for line in text.splitlines() if line.startswith("| ToMe, constant r | 40 |")]
    assert "‡90.00 [" in line
    assert line.endswith("| disturbed |")
    assert "**" not in line.replace("**0.600 [0.580, 0.620]**", "")  # its quality was not disturbed
    assert "‡: disturbed by other processes in both attempts, and left out of all comparisons." in text
    table = latex(joined, "invented")
    assert "$^\\ddagger$90.00" in table
    assert "\\textbf{$^\\ddagger$" not in table


@pytest.mark.parametrize(("status", "mark"), [("disturbed", "‡"), ("noisy", "≈")])
def test_a_mark_stands_at_every_time_that_it_is_about_the_unmerged_model_s_too(status: str, mark: str):
    times = {"sliced": 0.4, "plain_tome": 0.9, "scope": "stream", "batch_size": 1}
    records = [
        made.record("performance", **times, status=status),
        made.record("performance", "constant:20", seconds=0.5, **times, status=status),
        made.record("performance", "constant:40", seconds=0.25, **times),
    ]
    table = readable(join(records)).set_index("r")
    about = ["throughput", "real_time", "delay", "over_tome_plain"]
    assert all(table.loc[r, name].startswith(mark) for r in ("0", "20") for name in about), table.loc["0"]
    assert all(table.loc["20", name].startswith(mark) for name in ("speedup", "oracle"))
    assert not table.loc["40"].str.contains(mark).any()
    assert not any(mark in table.loc[r, name] for r in ("0", "20") for name in ("configuration", "tokens_out", "macs"))
    assert table.loc["0", "speedup"] == "1"
    assert table.loc["0", "oracle"] == "–"
    forward = readable(join([made.record("performance", status=status)]))  # a stream has a delay in place of a latency
    assert forward["latency"].item().startswith(mark)


def test_a_mark_is_explained_where_it_stands_and_nowhere_else():
    alone = join(
        [made.record("performance", status="disturbed"), made.record("performance", "constant:20", seconds=0.8)]
    )
    for text, mark in ((markdown(alone), "| ‡8.0 |"), (latex(alone, "invented"), "& $^\\ddagger$8.0")):
        assert mark in text
        assert "disturbed by other processes" in text
    # A README shows what is on the front, and a disturbed one is not.
    joined = join(disturbed_sweep())
    assert "‡" in markdown(joined)
    assert "‡" not in markdown(joined, most=4)
    failed = made.record("performance", "constant:20", status="oom")
    assert "out of memory" in markdown(join([failed, made.record("performance", status="noisy")]))


def test_it_is_drawn_as_a_cross_and_joined_to_nothing():
    joined = join(disturbed_sweep())
    figure = pareto_figure(joined)
    (axis,) = [axis for axis in figure.axes if axis.get_visible()]
    crosses = [line for line in axis.lines if line.get_marker() == "x"]
    assert len(crosses) == 1  # at the corner of what the others span
    assert "720 clips/s, mAP 0.600" in [text.get_text() for text in axis.texts]
    steps = [line for line in axis.lines if line.get_drawstyle() != "default"]
    assert all(0.6 not in line.get_ydata() for line in steps)
    assert "disturbed, of no standing" in [text.get_text() for text in figure.legends[0].get_texts()]
    gain = merging_figure(joined).axes[0]
    measured = [line for line in gain.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
    assert all(90.0 not in list(map(round, line.get_ydata())) for line in measured)
    (cross,) = [line for line in gain.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert cross.get_ydata()[0] <= gain.get_ylim()[1] < 10
    assert "90.0 times" in [text.get_text() for text in gain.texts]
    calm = pareto_figure(join(made.sweep()))
    assert "disturbed, of no standing" not in [text.get_text() for text in calm.legends[0].get_texts()]


def test_where_all_is_disturbed_nothing_is_drawn_or_told_of_what_is_not_there():
    """As on a laptop at work: crosses, and no empty axes from 0 to 1 beside them."""
    every = [
        one.model_copy(update={"status": "disturbed", "message": HOG}) if one.performance else one
        for one in disturbed_sweep()
    ]
    assert len(merging_figure(join(every)).axes) == 1
    assert "bars of" not in " ".join(text.get_text() for text in pareto_figure(join(every)).texts)
    assert len(merging_figure(join(disturbed_sweep())).axes) == 2
    assert "bars of" in " ".join(text.get_text() for text in pareto_figure(join(disturbed_sweep())).texts)


def test_the_page_lists_it_with_its_reason():
    records = disturbed_sweep()
    drawn = dict.fromkeys(FIGURES, "not drawn")
    text = page(join(records), drawn, {}, [one for one in records if one.status != "ok"], records, "invented")
    assert "1 disturbed" in text
    assert HOG in text
    assert "disturbed" not in FAILURES  # it has numbers


def test_a_study_takes_no_speed_from_it():
    (speeds,) = speeds_of(["invented"], disturbed_sweep())
    assert set(speeds.ratios) == {"constant:20", "decreasing:40"}
    assert speeds.unmerged_seconds == pytest.approx(1 / 8)


def test_a_sweep_that_timed_a_schedule_twice_is_no_study_s():
    one = made.record("performance", "constant:20", seconds=0.5)
    other = made.record("performance", "constant:20", seconds=0.6, batch_size=1)
    with pytest.raises(StudyError, match=f"constant:20 more than once on .*{one.cell.id} and {other.cell.id}"):
        speeds_of(["invented"], [one, other])


def test_an_interval_of_three_rounds_is_not_printed_as_if_it_were_one():
    few = made.record("performance", "constant:20", seconds=0.8, rounds=3)
    joined = join([few])
    assert readable(joined).iloc[0]["speedup"] == "1.25"
    assert "A speed-up without an interval comes from fewer than 5 rounds." in markdown(joined)
    assert "[" in readable(join([made.record("performance", "constant:20", seconds=0.8, rounds=5)])).iloc[0]["speedup"]
    quality = [made.record("quality", "constant:20", quality=0.5), made.record("quality", quality=0.49)]
    both = join([few, made.record("performance"), *quality])
    assert set(both["standing"]) <= {"front", "dominated"}  # nothing is clear that has no interval
    pareto_figure(both)


def test_ends_of_intervals_stand_in_latex_as_they_are():
    # 0.494 [0.453, 0.506] was written 0.494 ± 0.027, whose upper end is 0.521.
    assert stacked(escape("0.494 [0.453, 0.506]")) == "0.494$_{0.453}^{0.506}$"
    assert stacked(escape("−0.0016 [−0.0049, +0.0010]")) == "$-$0.0016$_{-0.0049}^{+0.0010}$"
    assert stacked(escape("≈1.25 [1.20, 1.30]")) == "$\\approx$1.25$_{1.20}^{1.30}$"
    assert stacked(escape("not measured")) == "not measured"
    text = latex(join(made.sweep()), "invented")
    assert "±" not in text
    assert "\\pm" not in text
    assert "0.470 & $_{0.450}^{0.490}$" in text


def test_an_older_interval_that_leaves_its_value_out_is_widened_to_hold_it():
    # Seen: 0.2127 [0.0946, 0.1949].
    record = made.record("quality", quality=0.2127)
    part = record.quality.model_copy(update={"mAP_interval": (0.0946, 0.1949)})
    joined = join([record.model_copy(update={"quality": part})])
    assert (joined.iloc[0]["score_low"], joined.iloc[0]["score_high"]) == (0.0946, 0.2127)


def test_a_study_s_speeds_are_all_of_one_machine():
    def of(machine, sweep, schedule, seconds):
        record = made.record("performance", schedule, seconds=seconds, unmerged=1.0)
        return record.model_copy(update={"sweep": sweep, "machine": record.machine.model_copy(update={"key": machine})})

    first = [of("one", "forward", schedule, 0.5) for schedule in ("constant:20", "constant:40", "decreasing:40")]
    second = [of("two", "forward", "constant:20", 0.8), of("two", "step", "constant:20", 0.4)]
    forward, step, nothing = speeds_of(["forward", "step", "other"], [*first, *second])
    assert {forward.machine, step.machine, nothing.machine} == {"two", ""}
    assert forward.ratio("constant:20")[0] == pytest.approx(1.25)
    assert step.ratio("constant:20")[0] == pytest.approx(2.5)
    assert set(forward.ratios) == {"constant:20"}  # and not the other machine's constant:40
    (alone,) = speeds_of(["forward"], [*first, *second])
    assert (alone.machine, len(alone.ratios)) == ("one", 3)
