"""The figures beside the front: what is drawn is what the records say, and what they do not say is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import records as made

from bench.records.schema import Record
from bench.report.drawing.files import write_figures
from bench.report.drawing.style import DOUBLE, SINGLE
from bench.report.figures import FIGURES
from bench.report.figures.batches import batches_figure
from bench.report.figures.latency import latency_figure
from bench.report.figures.memory import memory_figure
from bench.report.figures.pareto import pareto_figure
from bench.report.figures.rows import row_axes
from bench.report.figures.schedules import schedules_figure
from bench.report.frame import join
from bench.report.published.models import drawn_models, published_figure
from bench.report.words import row_name

ROOT = Path(__file__).parents[4]


def changed(record: Record, **performance: object) -> Record:
    assert record.performance is not None
    return record.model_copy(update={"performance": record.performance.model_copy(update=performance)})


def with_samples(record: Record, seconds: tuple[float, ...]) -> Record:
    assert record.performance is not None
    arms = {
        name: arm.model_copy(update={"seconds": (arm.seconds[len(arm.seconds) // 2],) * len(seconds)})
        for name, arm in record.performance.arms.items()
    }
    arms["candidate"] = arms["candidate"].model_copy(update={"seconds": seconds})
    return changed(record, arms=arms, rounds=len(seconds))


def with_memory(record: Record, before: int, peak: int) -> Record:
    assert record.performance is not None
    memory = record.performance.memory
    arm = memory.arms["candidate"].model_copy(
        update={"before_bytes": before << 20, "peak_bytes": peak << 20, "after_bytes": before << 20}
    )
    return changed(record, memory=memory.model_copy(update={"arms": {**memory.arms, "candidate": arm}}))


def points(axis) -> set[tuple[float, float]]:
    """Every point that is drawn with a marker, rounded."""
    drawn = [line for line in axis.lines if line.get_marker() not in ("None", "", None)]
    return {(round(float(x), 3), round(float(y), 3)) for line in drawn for x, y in zip(*line.get_data(), strict=True)}


def test_throughput_stands_over_the_batch_size_with_r_at_the_end_of_every_line() -> None:
    figure = batches_figure(join(made.sweep()))
    (axis,) = figure.axes
    # Unmerged, 1 and 8 clips take 1 s; constant:20 takes 0.8 s, constant:40 half of unmerged, decreasing:40 0.4 s.
    assert {(1, 1), (8, 8), (1, 1.25), (8, 10), (1, 2), (8, 16), (1, 2.5), (8, 20)} <= points(axis)
    assert sorted(text.get_text() for text in axis.texts) == ["20", "40", "40", "r=0"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "8"]
    assert axis.get_ylim()[0] == 0
    one = [record for record in made.sweep() if record.cell.question["workload"].get("batch_size") != 1]
    with pytest.raises(ValueError, match="no configuration was timed at several batch sizes"):
        batches_figure(join(one))


def test_a_schedule_is_drawn_as_the_tokens_that_left_its_blocks_beside_what_came_of_it() -> None:
    joined = join(made.sweep())
    shape, outcome = schedules_figure(joined).axes
    shapes = {tuple(line.get_ydata()) for line in shape.lines}
    assert shapes == {(602, made.TOKENS[name]) for name in ("none", "constant:20", "constant:40", "decreasing:40")}
    assert {(1.25, -0.02), (2.0, -0.01), (2.5, -0.03), (1, 0)} <= points(outcome)
    assert "batch size 8" in figure_text(schedules_figure(joined))
    constant = [record for record in made.sweep() if "decreasing" not in str(record.cell.question["reduction"])]
    with pytest.raises(ValueError, match="fewer than two kinds of schedules"):
        schedules_figure(join(constant))


def test_schedules_of_one_device_stand_apart_where_their_times_are_of_other_scopes() -> None:
    whole = [
        made.record("performance", name, seconds=seconds, scope="waveform")
        for name, seconds in (("none", 1.0), ("constant:40", 0.6), ("decreasing:40", 0.5))
    ]
    figure = schedules_figure(join([*made.sweep(), *whole]))
    assert len(figure.axes) == 4
    titles = [axis.get_title(loc="left").replace("\n", " ") for axis in figure.axes]
    assert titles == ["Abacus, AVX512, 2 threads, batch 8, float32", "", f"{titles[0]}, from waveforms", ""]
    assert "Abacus" not in figure_text(figure)  # said once
    assert "2 threads, float32, batch size 8" in figure_text(schedules_figure(join(made.sweep())))


def figure_text(figure) -> str:
    return figure.get_supxlabel()


def test_percentiles_are_those_of_the_samples_at_the_latency_of_the_tables() -> None:
    seconds = (1.0,) * 89 + (1.5,) * 9 + (3.0,) * 2
    slow = with_samples(made.record("performance", "constant:20", seconds=1.0, unmerged=2.0), seconds)
    joined = join([made.record("performance"), slow])  # the machine was half as fast while this one ran
    (axis,) = latency_figure(joined).axes
    row = joined[joined["schedule"] == "constant:20"].iloc[0]
    assert row["latency"] != pytest.approx(row["latency_ms"])
    drawn = sorted(x for x, y in points(axis) if y == 0)
    assert drawn == pytest.approx([row["latency"] * x for x in np.percentile(seconds, [50, 90, 99])], abs=0.01)
    with pytest.raises(ValueError, match="no configuration has ten samples"):
        latency_figure(join(made.sweep()))


def test_what_has_too_few_samples_for_a_percentile_is_left_out_and_said() -> None:
    few = [made.record("performance", name, batch_size=1) for name in ("none", "constant:20")]
    beside = made.record("performance", "constant:20")  # five samples, in a panel of more
    many = [with_samples(made.record("performance"), tuple(np.linspace(0.9, 1.1, 12)))]
    figure = latency_figure(join([*few, beside, *many]))
    assert len(figure.axes) == 1
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["unmerged", "ToMe, constant r = 20"]
    text = figure_text(figure).replace("\n", " ")
    assert "5 to 12 samples per configuration" in text
    assert "a median alone has fewer than ten samples" in text
    assert "left out, as none has ten samples: batch size 1" in text
    assert "ten samples" not in figure_text(latency_figure(join(many)))


def test_throughput_over_the_batch_size_speaks_of_no_quality() -> None:
    text = figure_text(batches_figure(join(made.sweep())))
    assert "mAP" not in text
    assert "model_with_underscores; PyTorch 1; intervals are 95 % bootstrap" in text


@pytest.mark.parametrize("rounds", [0, 300])
def test_a_runtime_with_an_arena_has_no_number_of_what_a_run_takes(rounds: int) -> None:
    records = [with_memory(made.record("performance"), 500, 620)]
    records.append(with_memory(made.record("performance", engine="openvino", plain=1.0), 900, 900 + rounds))
    figure = memory_figure(join(records))
    assert [text.get_text() for text in figure.axes[0].texts] == ["in the arena", "120"]
    assert sorted(round(bar.get_width()) for bar in figure.axes[0].patches) == [0, 120, 500, 900 + rounds]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["held before (weights)", "with a runtime's arena, not comparable", "one run, on top"]
    (hatched,) = [bar for bar in figure.axes[0].patches if bar.get_hatch()]
    assert hatched.get_width() == 900 + rounds
    assert "in the arena: taken before the run" in figure_text(figure).replace("\n", " ")


def test_on_a_cpu_what_is_held_before_is_said_to_hang_on_other_arms() -> None:
    found = with_memory(made.record("performance"), 500, 620)
    assert found.performance is not None
    read = found.performance.memory.model_copy(update={"kind": "resident set of the process"})
    figure = memory_figure(join([changed(found, memory=read)]))
    assert figure.legends[0].get_texts()[0].get_text() == "held before (weights, libraries, other arms)"
    assert "depends on what else a cell timed" in figure_text(figure).replace("\n", " ")


def test_memory_is_what_was_held_and_what_a_run_took_on_top() -> None:
    records = [with_memory(made.record("performance"), 500, 620), made.record("performance", "constant:20")]
    (axis,) = memory_figure(join(records)).axes
    assert sorted(round(bar.get_width()) for bar in axis.patches) == [120, 500]
    assert [text.get_text() for text in axis.texts] == ["120"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["unmerged"]
    with pytest.raises(ValueError, match="no record says how much memory"):
        memory_figure(join(made.sweep()))


def test_rows_have_the_names_of_their_points() -> None:
    names = {row_name(row) for _, row in join(made.sweep()).iterrows()}
    assert names == {"unmerged", "ToMe, constant r = 20", "ToMe, constant r = 40", "ToMe, decreasing r = 40"}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_one_column_of_a_paper_or_two(name: str) -> None:
    seconds = tuple(np.linspace(0.9, 1.1, 10))
    records = [record if record.performance is None else with_samples(record, seconds) for record in made.sweep()]
    records = [record if record.performance is None else with_memory(record, 1, 2) for record in records]
    for width in (SINGLE, DOUBLE):
        figure = FIGURES[name].draw(join(records), width=width)
        assert figure.get_figwidth() == width
        renderer = figure.canvas.get_renderer()
        for text in (figure._supxlabel, *(axis.title for axis in figure.axes)):
            box = text.get_window_extent(renderer)
            assert -1 <= box.x0 <= box.x1 <= width * figure.dpi + 1, (width, text.get_text())


def test_a_disturbed_outlier_stands_at_the_edge_with_its_value_and_stretches_no_axis() -> None:
    calm = join(made.sweep())
    odd = made.record("performance", "decreasing:20", seconds=0.01, status="disturbed", message="x")
    records = [*made.sweep(), odd, made.record("quality", "decreasing:20", quality=0.485, delta=-0.015)]
    (before,) = [axis for axis in pareto_figure(calm).axes if "8" in axis.get_title(loc="left")]
    (after,) = [axis for axis in pareto_figure(join(records)).axes if "8" in axis.get_title(loc="left")]
    assert after.get_xlim() == pytest.approx(before.get_xlim())
    (cross,) = [line for line in after.lines if line.get_marker() == "x"]
    low, high = after.get_xlim()
    assert high - 0.05 * (high - low) < cross.get_xdata()[0] < high
    assert cross.get_ydata()[0] == pytest.approx(0.485)
    assert "800 clips/s" in [text.get_text() for text in after.texts]


def test_what_was_disturbed_and_left_out_is_named() -> None:
    records = [
        record.model_copy(update={"status": "disturbed"})
        if record.performance and record.cell.question["workload"] == {"batch_size": 8} and "constant:40" in str(record)
        else record
        for record in made.sweep()
    ]
    said = "disturbed and left out: ToMe, constant r = 40 (batch size 8)"
    for draw in (batches_figure, schedules_figure):
        assert said in figure_text(draw(join(records)))
        assert "left out" not in figure_text(draw(join(made.sweep())))


def test_bars_of_the_score_say_what_they_are_where_nothing_is_unmerged() -> None:
    def said(records: list[Record]) -> str:
        return " ".join(figure_text(pareto_figure(join(records))).split())

    merged = [one for one in made.sweep() if one.cell.question["reduction"] is not None]
    bare = [
        one
        if one.quality is None
        else one.model_copy(update={"quality": one.quality.model_copy(update={"delta": None})})
        for one in merged
    ]
    assert "bars of mAP: not paired, each model's own interval over clips" in said(bare)
    assert "bars of mAP: paired difference to the unmerged model on the same clips" in said(made.sweep())


def test_more_configurations_than_a_sheet_has_lines_for_are_left_to_the_table() -> None:
    rows = pd.DataFrame({"batch_size": range(201)})
    with pytest.raises(ValueError, match="201 configurations are too many for a line each, 200 at most; the table has"):
        row_axes(rows, width=6.75)


def test_published_models_stand_where_their_authors_say_and_ast_where_the_formula_says() -> None:
    published = drawn_models()
    # Gong et al.'s model: 12 blocks, 1,214 tokens, 768 wide; 4 N d^2 + 2 N^2 d + 8 N d^2 a block.
    blocks = 12 * (12 * 1214 * 768**2 + 2 * 1214**2 * 768) / 1e9
    ast = published[published["model"] == "AST"].iloc[0]
    assert ast["gmacs"] == pytest.approx(blocks, rel=0.01)
    assert published["source"].str.startswith("https://").all()
    sizes, macs = published_figure(published).axes
    assert (5.5, 0.481) in points(sizes)
    assert (0.54, 0.471) in points(macs)
    assert len(points(macs)) == published["gmacs"].notna().sum()
    assert len(points(sizes)) == len(published) - 4  # strides change no size
    measured = pd.DataFrame(
        {"dataset": ["audioset", "soundscapes"], "score": [0.45, 0.5], "macs_per_clip": [9e10, 1e9]}
        | {"method": "none", "attention": "auto", "setup": ""}
    )
    _, macs = published_figure(published, measured).axes
    (crosses,) = [line for line in macs.lines if line.get_marker() == "x"]
    assert [tuple(map(float, pair)) for pair in zip(*crosses.get_data(), strict=True)] == [(90.0, 0.45)]


def test_what_cannot_be_drawn_says_why_and_an_earlier_file_of_it_goes(tmp_path: Path) -> None:
    def draw(fails: bool):
        import matplotlib.pyplot as plt

        if fails:
            raise ValueError("nothing there")
        return plt.subplots()[0]

    first = write_figures({"a": lambda: draw(False), "b": lambda: draw(False)}, tmp_path, formats=("png",))
    assert sorted(path.name for path in first.paths) == ["a.png", "b.png"]
    assert first.svgs["a"].startswith("<?xml")
    again = write_figures({"a": lambda: draw(True), "b": lambda: draw(False)}, tmp_path, formats=("png",))
    assert (dict(again.reasons), [path.name for path in again.paths]) == ({"a": "nothing there"}, ["b.png"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png"]
    write_figures({"b": lambda: draw(False)}, tmp_path, formats=("svg",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.svg"]  # no picture of an earlier report beside it


def test_names_of_rows_leave_half_of_a_single_column_to_what_was_measured() -> None:
    joined = join([made.record("performance", f"constant:{r}", rounds=12) for r in (20, 40)])
    long = joined.assign(setup="ONNX Runtime float32")
    for width in (SINGLE, DOUBLE):
        figure = latency_figure(long, width=width)
        axis = figure.axes[0]
        assert axis.get_position().width > 0.45
        assert axis.get_tightbbox().x1 <= figure.bbox.x1 + 1
