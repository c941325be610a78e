"""What was timed keeps records apart: a training step stands in no row, table or panel of a forward."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import records as made

from bench.report.figures import merging_figure
from bench.report.frame import join
from bench.report.panels import panels
from bench.report.render import write_report
from bench.report.tables.cells import panel_name, readable
from bench.report.tables.columns import columns_of
from bench.report.tables.latex import latex
from bench.report.tables.markdown import markdown


def scoped():
    found = [made.record("quality"), made.record("quality", "constant:20", quality=0.48, delta=-0.02)]
    for scope, times in (("forward", 1.0), ("waveform", 1.05), ("training_step", 3.0)):
        alone = {"alone": 1.0} if scope == "waveform" else {}
        found.append(made.record("performance", seconds=times, unmerged=times, scope=scope, **alone))
        alone = {"alone": 0.5} if scope == "waveform" else {}
        found.append(
            made.record("performance", "constant:20", seconds=0.55 * times, unmerged=times, scope=scope, **alone)
        )
    return found


def test_scopes_are_panels_of_their_own_and_throughput_is_that_of_the_scope() -> None:
    joined = join(scoped())
    found = {panel["scope"].iloc[0]: panel.set_index("schedule") for _, panel in panels(joined)}
    assert list(found) == ["forward", "training_step", "waveform"]
    assert {len(panel) for panel in found.values()} == {2}
    # Of 8 clips: an unmerged training step took three times as long as the forward.
    assert found["forward"].loc["none", "throughput"] == pytest.approx(8 / 1.0)
    assert found["training_step"].loc["none", "throughput"] == pytest.approx(8 / 3.0)
    assert found["training_step"].loc["constant:20", "throughput"] == pytest.approx(8 / 3.0 / 0.55)
    assert found["forward"].loc["constant:20", "mAP"] == found["waveform"].loc["constant:20", "mAP"] == 0.48


def test_a_training_step_has_no_quality_and_stands_on_no_front() -> None:
    joined = join(scoped()).set_index("scope")
    assert joined.loc["training_step", "mAP"].isna().all()
    assert set(joined.loc["training_step", "standing"]) == {""}
    assert set(joined.loc["forward", "standing"]) == {"front"}
    records = [record for record in scoped() if record.cell.kind == "quality"] + [scoped()[-1]]
    assert join(records)["mAP"].dropna().tolist() == [0.5, 0.48], "a quality without a speed to stand beside is kept"


def test_the_name_of_a_panel_says_what_was_timed_unless_it_is_the_forward() -> None:
    names = {panel["scope"].iloc[0]: panel_name(panel) for _, panel in panels(join(scoped()))}
    assert names["waveform"] == f"{names['forward']}, from waveforms"
    assert names["training_step"] == f"{names['forward']}, training step"


def test_an_unmerged_training_step_on_the_engine_is_not_what_speed_ups_are_over() -> None:
    trained = {"scope": "training_step", "engine": "triton", "unmerged": 3.0}
    records = [made.record("performance", seconds=2.5, **trained)]
    records.append(made.record("performance", "constant:20", seconds=1.5, **trained))
    joined = join(records)
    rows = joined.set_index("schedule")
    assert rows["throughput"].to_dict() == {
        "none": pytest.approx(8 / 2.5, rel=0.01),  # the engine's own, and not the plain model's 8 / 3
        "constant:20": pytest.approx(8 / 1.5, rel=0.01),
    }
    ((_, panel),) = panels(joined)
    shown = readable(panel)
    assert shown["configuration"].tolist() == ["unmerged on the engine", "ToMe, constant r"]
    assert [text[:4] for text in shown["speedup"]] == ["1.20", "2.00"]
    figure = merging_figure(joined)
    measured = next(line for line in figure.axes[0].lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2)
    assert list(measured.get_ydata()) == pytest.approx([1.2, 2.0], rel=0.01)
    # Where the same engine runs both, what was measured of the unmerged model is noise.
    forward = {"scope": "forward", "engine": "triton", "unmerged": 3.0}
    ((_, panel),) = panels(join([made.record("performance", seconds=2.5, **forward)]))
    assert readable(panel)["speedup"].tolist() == ["1"]


def test_the_time_over_the_model_alone_is_a_column_where_it_was_measured() -> None:
    joined = join(scoped())
    found = {panel["scope"].iloc[0]: panel for _, panel in panels(joined)}
    assert [scope for scope, panel in found.items() if "alone" in columns_of(panel)] == ["waveform"]
    shown = readable(found["waveform"]).set_index("r")["alone"]
    assert shown["0"].startswith("1.050 [1.0")  # 1.05 s over 1 s
    assert shown["20"].startswith("1.155 [1.1")  # 0.55 * 1.05 s over 0.5 s
    low, high = (float(text) for text in shown["20"].split("[")[1].strip("]").split(", "))
    assert low <= 1.155 <= high
    text = markdown(joined)
    assert text.count("Time over model alone ↓ |") == 1
    assert "Time over model alone: from waveforms to labels" in text
    assert "MACs are those of its forward" in text
    assert latex(joined, "x").count("{Over model $") == 1
    plain = markdown(join([record for record in scoped() if "measure" not in record.cell.question]))
    assert "model alone" not in plain
    assert "Training step" not in plain


def test_the_report_of_several_scopes_is_drawn(tmp_path) -> None:
    write_report(scoped(), tmp_path, sweep="invented", formats=("svg",))
    for name, trained in (("pareto", 0), ("merging", 1)):
        drawn = (tmp_path / f"{name}.svg").read_text()
        assert drawn.count("waveforms") == 1
        assert drawn.count("training") == trained
    page = (tmp_path / "index.html").read_text()
    assert page.count("<th>Time over model alone ↓</th>") == 1


def streamed(rounds: int):
    return [made.record("performance", batch_size=1, seconds=0.1, unmerged=0.1, rounds=rounds, scope="stream")]


def test_a_stream_has_its_delay_once_and_says_where_samples_were_too_few() -> None:
    ((_, panel),) = panels(join(streamed(25)))
    heads = columns_of(panel)
    assert heads["delay"] == "Delay in ms, median (95 %) ↓"
    assert "latency" not in heads  # it is the median of the delay
    assert readable(panel)["delay"].tolist() == ["100.0 (101.1)"]
    ((_, panel),) = panels(join(streamed(5)))
    assert readable(panel)["delay"].tolist() == ["100.0 (too few samples)"]
    assert "Latency:" not in markdown(join(streamed(5)))
    assert "Latency: batch size over clips/s." in markdown(join(scoped()))
