"""Engines that ran one model stand in one panel, on one front, each with its name and colour."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import records as made

from bench.page.facts import record_facts
from bench.report.drawing.style import COLOURS
from bench.report.figures import merging_figure, pareto_figure
from bench.report.figures.batches import batches_figure
from bench.report.frame import join
from bench.report.panels import panels
from bench.report.render import write_report
from bench.report.tables.cells import panel_name, readable
from bench.report.tables.columns import columns_of
from bench.report.tables.latex import latex
from bench.report.tables.markdown import markdown
from bench.report.words import software_line

UNMERGED = {("plain", "float32"): 1.0, ("openvino", "float32"): 0.8, ("openvino", "int8"): 0.5}
"""Seconds per batch of 8; merged, half of it. The machine was twice as slow in the cells of int8, all their arms."""
SLOWER = {"int8": 2.0}
QUALITY = {"float32": 0.5, "int8": 0.47}


def engines(*, plain: bool = True):
    found = []
    for (engine, dtype), seconds in UNMERGED.items():
        setup = {"engine": engine, "dtype": dtype}
        slow = SLOWER.get(dtype, 1.0)
        arm = {"plain": 1.0 * slow} if plain and engine != "plain" else {}
        both = setup | arm | {"unmerged": seconds * slow}
        found += [
            made.record("performance", seconds=seconds * slow, **both),
            made.record("performance", "constant:20", seconds=seconds / 2 * slow, sliced=seconds * 0.48 * slow, **both),
            made.record("quality", quality=QUALITY[dtype], **setup),
            made.record("quality", "constant:20", quality=QUALITY[dtype] - 0.01, delta=-0.01, **setup),
        ]
    return found


def test_one_panel_holds_all_and_its_throughputs_hang_on_one_arm() -> None:
    ((_, panel),) = panels(join(engines()))
    assert len(panel) == 6
    found = panel.set_index(["engine", "dtype", "schedule"])["throughput"]
    for (engine, dtype), seconds in UNMERGED.items():
        assert found[engine, dtype, "none"] == pytest.approx(8 / seconds, rel=0.01)
        assert found[engine, dtype, "constant:20"] == pytest.approx(16 / seconds, rel=0.01)


def test_on_triton_each_attention_has_an_unmerged_model_of_its_own() -> None:
    setup = {"engine": "triton", "dtype": "bfloat16"}
    found = []
    for attention, seconds in (("auto", 0.1), ("fa4", 0.05)):
        both = setup | {"attention": attention, "unmerged": seconds}
        found.append(made.record("performance", seconds=seconds, **both))
        found.append(made.record("performance", "constant:20", seconds=seconds / 2, **both))
    rows = join(found).set_index(["attention", "schedule"])
    throughput = rows["throughput"]
    assert throughput["auto", "constant:20"] == pytest.approx(8 / 0.05, rel=0.01)
    assert throughput["fa4", "constant:20"] == pytest.approx(8 / 0.025, rel=0.01)
    assert rows.loc[("fa4", "constant:20"), "latency"] == pytest.approx(25, rel=0.01)


def test_the_front_goes_over_all_engines() -> None:
    panel = join(engines()).set_index(["engine", "dtype", "schedule"])["standing"]
    # By hand: 20 clips/s at 0.49 and 32 at 0.46 with OpenVINO; 16 at 0.47 beats neither; unmerged, 10 at 0.5 beats 8.
    front = {key for key, standing in panel.items() if standing == "front"}
    assert front == {
        ("openvino", "float32", "none"),
        ("openvino", "float32", "constant:20"),
        ("openvino", "int8", "constant:20"),
    }


def test_without_the_common_arm_each_has_its_own_unmerged_model_as_measured() -> None:
    found = join(engines(plain=False)).set_index(["engine", "dtype", "schedule"])["throughput"]
    assert found["openvino", "int8", "constant:20"] == pytest.approx(8 / 0.5, rel=0.01)  # twice as slow a machine


def test_rows_name_engine_and_dtype_and_are_over_their_own_and_over_plain_pytorch() -> None:
    ((_, panel),) = panels(join(engines()))
    table = readable(panel).set_index("configuration")
    assert set(table.index) == {
        f"{setup}, {what}"
        for setup in ("PyTorch float32", "OpenVINO float32", "OpenVINO int8")
        for what in ("unmerged", "ToMe, constant r")
    }
    assert table.loc["OpenVINO int8, ToMe, constant r", "speedup"].startswith("2.00 [")
    assert table.loc["OpenVINO int8, ToMe, constant r", "over_plain"].startswith("4.00 [")
    assert table.loc["OpenVINO int8, unmerged", "over_plain"].startswith("2.00 [")
    assert table.loc["PyTorch float32, ToMe, constant r", "over_plain"].startswith("2.00 [")
    assert table.loc["PyTorch float32, unmerged", "over_plain"] == "1.00"
    assert columns_of(panel)["over_plain"] == "Over plain PyTorch ↑"
    assert panel_name(panel) == "Abacus, AVX512, 2 threads, batch size 8"  # neither is shared
    assert "Over …" in markdown(join(engines()))


def test_one_dtype_is_named_once_and_one_engine_stays_alone() -> None:
    both = [record for record in engines() if record.cell.question["dtype"] == "float32"]
    ((_, panel),) = panels(join(both))
    assert panel_name(panel).endswith("batch size 8, float32")
    assert "OpenVINO, ToMe, constant r" in set(readable(panel)["configuration"])
    alone = [record for record in both if record.cell.question["model"].get("engine")]
    ((_, panel),) = panels(join(alone))
    assert panel_name(panel).endswith("batch size 8, float32, OpenVINO")
    assert set(readable(panel)["configuration"]) == {"unmerged", "ToMe, constant r"}


def marked(axis) -> list:
    return [line for line in axis.lines if line.get_marker() not in ("None", "", "_", "|")]


def test_figures_draw_an_engine_in_a_colour_and_a_marker_and_its_unmerged_model_with_a_star_on_it() -> None:
    figure = pareto_figure(join(engines()))
    (axis,) = [axis for axis in figure.axes if axis.get_visible()]
    drawn = [line for line in marked(axis) if line.get_marker() != "*"]
    assert len(drawn) == 6
    looks = {(line.get_color(), line.get_marker()) for line in drawn}
    assert len(looks) == len({marker for _, marker in looks}) == 3  # in grey too
    assert {colour for colour, _ in looks} == set(COLOURS[:3])
    stars = {float(line.get_xdata()[0]) for line in marked(axis) if line.get_marker() == "*"}
    assert sorted(stars) == pytest.approx(sorted(8 / seconds for seconds in UNMERGED.values()), rel=0.01)
    starred = [line for line in drawn if float(line.get_xdata()[0]) in stars]
    assert len({line.get_marker() for line in starred}) == 3
    # Hollow points hide nothing: what is dominated has no face, and stands above what is filled.
    hollow = [line for line in drawn if line.get_markerfacecolor() == "none"]
    assert len(hollow) == 3
    filled = [line for line in drawn if line not in hollow]
    assert min(line.get_zorder() for line in hollow) > max(line.get_zorder() for line in filled)
    assert "with a star: unmerged" in [text.get_text() for text in figure.legends[0].get_texts()]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    setups = ("PyTorch float32", "OpenVINO float32", "OpenVINO int8")
    assert set(names[:3]) == set(setups)
    assert figure.legends[0].get_title().get_text() == "ToMe, constant r"  # said once
    plt.close(figure)
    plt.close(merging_figure(join(engines())))


def test_lines_over_the_batch_size_tell_engines_apart_in_grey_and_hide_no_point() -> None:
    alone = [
        made.record(
            "performance", batch_size=1, engine=engine, dtype=dtype, plain=1.0, seconds=seconds, unmerged=seconds
        )
        for (engine, dtype), seconds in UNMERGED.items()
    ]
    figure = batches_figure(join([*engines(), *alone]))
    (axis,) = figure.axes
    lines = [line for line in marked(axis) if line.get_marker() != "*"]
    by_colour = {line.get_color(): line.get_marker() for line in lines}
    assert len(set(by_colour.values())) == len(by_colour) == 3
    assert {line.get_markerfacecolor() for line in lines} == {"none"}
    assert len([line for line in marked(axis) if line.get_marker() == "*"]) == 3
    plt.close(figure)


def test_an_engine_of_which_nothing_was_merged_has_a_look_of_its_own() -> None:
    kept = [one for one in engines() if one.cell.question["reduction"] is None or one.cell.question["dtype"] == "int8"]
    figure = pareto_figure(join(kept))
    (axis,) = [axis for axis in figure.axes if axis.get_visible()]
    looks = {(line.get_color(), line.get_marker()) for line in marked(axis) if line.get_marker() != "*"}
    assert len(looks) == len({marker for _, marker in looks}) == 3
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"PyTorch float32, unmerged", "OpenVINO float32, unmerged", "OpenVINO int8, ToMe, constant r"} <= set(names)
    plt.close(figure)


@pytest.mark.parametrize(("engines", "apart", "places"), [(3, 0.0, 1), (5, 0.0, 5), (5, 0.1, 1)])
def test_marks_of_many_engines_at_one_r_do_not_cover_each_other(engines: int, apart: float, places: int) -> None:
    kinds = [("plain", "float32"), ("openvino", "float32"), ("openvino", "int8"), ("onnxruntime", "float32")]
    kinds.append(("onnxruntime", "int8"))
    records = []
    for engine, dtype in kinds[:engines]:
        setup = {"engine": engine, "dtype": dtype}
        records.append(made.record("performance", unmerged=1.0, seconds=1.0, **setup))
        seconds = 0.6 + apart * kinds.index((engine, dtype))
        records.append(made.record("performance", "constant:20", unmerged=1.0, seconds=seconds, **setup))
    axis = merging_figure(join(records)).axes[0]
    marks = [float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() not in ("None", "", "|", "_", 0)]
    assert len(marks) == engines
    assert len(set(marks)) == places
    assert sum(marks) / len(marks) == pytest.approx(20)


@pytest.mark.parametrize(("status", "said"), [("ok", True), ("disturbed", False)])
def test_of_disturbed_marks_alone_it_is_not_said_that_they_stand_side_by_side(status: str, said: bool) -> None:
    records = [made.record("performance")]
    for attention in ("auto", "sdpa", "eager", "flash"):
        asked = {"attention": attention, "status": status, "seconds": 0.5}
        records.append(made.record("performance", "constant:20", **asked))
    records.append(made.record("performance", "constant:40", status="disturbed"))
    text = merging_figure(join(records)).get_supxlabel()
    assert ("marks of one r stand side by side" in text.replace("\n", " ")) == said


def test_versions_of_other_runtimes_stand_in_captions_tables_and_the_page(tmp_path) -> None:
    facts = {"path": "openvino", "why_plain": "", "kernels": {"runtime": "openvino 2026.4.1", "attention": "fused"}}
    records = [
        type(one).model_validate(one.model_dump() | {"engine": facts})
        if one.cell.question["model"].get("engine") == "openvino"
        else one
        for one in engines()
    ]
    joined = join(records)
    versions = "PyTorch 1, OpenVINO 2026.4.1"
    assert versions in pareto_figure(joined).get_supxlabel().replace("\n", " ")
    assert versions in markdown(joined)
    assert versions in latex(joined, "invented")
    assert versions in software_line(joined)
    assert set(joined["runtime"].dropna()) == {"openvino 2026.4.1"}
    assert "OpenVINO" not in software_line(joined[joined["engine"] == "plain"])
    write_report(records, tmp_path, sweep="invented", formats=())
    assert "<dt>Other runtimes</dt><dd>OpenVINO 2026.4.1</dd>" in (tmp_path / "index.html").read_text()
    assert "openvino 2026.4.1" in (tmp_path / "table.csv").read_text()
    told = record_facts(records)
    place = next(i for i, one in enumerate(records) if one.engine is not None)
    assert ", PyTorch 1, OpenVINO 2026.4.1," in told["values"][told["made_with"][place]]
    pairs = told["pairs"][place]
    names = {
        tuple(told["names"][name][:2]): told["values"][value]
        for name, value in zip(pairs[::2], pairs[1::2], strict=True)
    }
    assert names["Engine", "kernels.runtime"] == "openvino 2026.4.1"
