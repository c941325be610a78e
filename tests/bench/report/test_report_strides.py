"""A model of larger stride in the report: a row and a point of its own, over the unmerged model at the model's own."""

from __future__ import annotations

from typing import Any

import pytest
from records import record

from bench.compare.samples import load_side
from bench.page.points import page_panels
from bench.records.schema import Record
from bench.records.store import to_frame
from bench.report.drawing.style import COLOURS
from bench.report.figures import merging_figure, pareto_figure
from bench.report.frame import join
from bench.report.page import _asked
from bench.report.tables.latex import latex
from bench.report.tables.markdown import markdown
from bench.report.words import series_name
from bench.run.panels import far_cells


def strided(found: Record, stride: int) -> Record:
    question: dict[str, Any] = found.cell.question
    question = question | {"model": question["model"] | {"stride": stride}}
    cell = found.cell.model_copy(update={"question": question, "id": f"{stride:02d}{found.cell.id[:10]}"})
    return found.model_copy(update={"cell": cell})


@pytest.fixture
def records() -> list[Record]:
    """The unmerged model, two strides, ToMe at the usual stride and at one of the others."""
    return [
        record("quality", quality=0.50),
        record("performance"),
        record("quality", "constant:40", quality=0.48, delta=-0.02),
        record("performance", "constant:40", seconds=0.45),
        strided(record("quality", quality=0.47, delta=-0.03), 12),
        strided(record("performance", seconds=0.7), 12),
        strided(record("quality", quality=0.46, delta=-0.04), 16),
        strided(record("performance", seconds=0.4), 16),
        strided(record("quality", "constant:20", quality=0.45, delta=-0.05), 16),
        strided(record("performance", "constant:20", seconds=0.3), 16),
    ]


def test_every_stride_has_a_row_with_its_speed_and_its_loss(records) -> None:
    rows = join(records).set_index(["method", "schedule", "options"])
    assert len(rows) == 5
    for schedule, speedup, delta, standing in (("stride:12", 1 / 0.7, -0.03, False), ("stride:16", 2.5, -0.04, True)):
        row = rows.loc["stride", schedule, ""]
        assert row["speedup_unmerged"] == pytest.approx(speedup)
        assert row["throughput"] == pytest.approx(8 * speedup)  # of 8 clips a second
        assert row["delta_score"] == pytest.approx(delta)
        assert (row["standing"] == "front") == standing
        assert (row["family"], row["r"] != row["r"]) == ("stride", True)
    assert rows.loc["tome", "constant:20", "stride=16"]["throughput"] == pytest.approx(8 / 0.3)
    assert rows.loc["none", "none", ""]["throughput"] == pytest.approx(8)


def test_tables_and_figures_name_strides(records) -> None:
    rows = join(records)
    text = markdown(rows)
    assert "| stride 12 | – |" in text
    assert "| stride 16 | – |" in text
    assert "stride:" not in text + latex(rows, "invented")
    assert "| ToMe, constant r, stride 16 | 20 |" in text
    assert text.count("| unmerged |") == 1
    assert {series_name(row) for _, row in rows.iterrows()} == {
        "unmerged", "larger stride", "ToMe, constant r", "ToMe, constant r, stride 16",
    }  # fmt: skip
    labels = {text.get_text() for axis in pareto_figure(rows).axes for text in axis.texts}
    assert {"stride 12", "stride 16", "r=0", "40"} <= labels


def test_rows_stand_by_stride_behind_the_unmerged_model_whatever_came_first(records) -> None:
    more = [strided(record("performance", seconds=0.9), 9), strided(record("quality", quality=0.48, delta=-0.02), 9)]
    adjacent = record("performance", "constant:20", seconds=0.9)
    question: dict[str, Any] = adjacent.cell.question
    question = question | {"reduction": question["reduction"] | {"method": "adjacent"}}
    cell = adjacent.cell.model_copy(update={"question": question, "id": "adjacent"})
    rows = join([adjacent.model_copy(update={"cell": cell}), *records[::-1], *more])
    assert rows["schedule"].tolist()[:1] == ["none"]
    assert rows.loc[rows["method"] == "stride", "schedule"].tolist() == ["stride:9", "stride:12", "stride:16"]


def test_the_page_names_every_stride(records) -> None:
    (panel,) = page_panels(records)
    points = {point["name"]: point for point in panel["points"]}
    assert {"stride 12", "stride 16", "unmerged"} <= set(points)
    found = points["stride 16"]
    assert (found["row"], found["short"], found["r"]) == ("stride 16", "stride 16", None)
    assert (found["series"], found["unmerged"], found["speed"]) == ("larger stride", False, pytest.approx(2.5))
    merged = points["ToMe, constant r, stride 16, r = 20"]
    assert (merged["row"], merged["short"], merged["r"]) == ("ToMe, constant r, stride 16", "20", 20)
    assert (records[found["speed_record"]], records[found["quality_record"]]) == (records[7], records[6])


def test_the_flat_view_of_other_records_is_what_it_was() -> None:
    (row,) = to_frame([record("performance", "constant:40")]).to_dict("records")
    assert (row["method"], row["schedule"], row["family"], row["r"], row["options"]) == (
        *("tome", "constant:40", "constant", 40, ""),
    )


def test_the_unmerged_model_of_all_strides_is_one_panel(records) -> None:
    """Where it is far off in one cell, the others tell."""
    odd = strided(record("performance", "constant:20", seconds=0.9, unmerged=3.0), 14)
    (found,) = far_cells([*records, odd]).items()
    assert found[0][1] == odd.cell.id


def test_a_stride_is_said_where_a_cell_is_named_in_a_line(records, tmp_path) -> None:
    assert _asked(records[7]) == "stride 16, batch 8, float32"
    assert _asked(records[9]).startswith("stride 16 tome constant:20")
    folder = tmp_path / "abacus" / "invented"
    folder.mkdir(parents=True)
    (folder / f"{records[7].cell.id}.json").write_text(records[7].model_dump_json())
    (sample,) = load_side(tmp_path).values()
    assert "stride 16" in sample.title


def lines_of(axis) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Every line of more than one point, by colour and style."""
    return {
        (line.get_color(), line.get_linestyle()): [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]
        for line in axis.lines
        if len(line.get_xdata()) > 1 and line.get_linestyle() != "None"
    }


def test_a_line_over_r_starts_at_its_own_stride(records) -> None:
    records += [
        strided(record("performance", "constant:20", seconds=0.5), 12),
        strided(record("quality", "constant:20", quality=0.46, delta=-0.04), 12),
        strided(record("performance", "constant:20", seconds=0.45), 14),  # nothing else was measured of this one
        strided(record("quality", "constant:20", quality=0.45, delta=-0.05), 14),
    ]
    joined = join(records)
    gain, cost = merging_figure(joined).axes
    own, twelve, fourteen, sixteen = COLOURS[:4]
    gains, costs = lines_of(gain), lines_of(cost)
    assert gains[own, "-"] == [(0, 1), (40, pytest.approx(1 / 0.45))]
    assert gains[twelve, "-"] == [(0, pytest.approx(1 / 0.7)), (20, pytest.approx(2.0))]
    assert gains[sixteen, "-"] == [(0, pytest.approx(2.5)), (20, pytest.approx(1 / 0.3))]
    assert not {key for key in gains if key[0] == fourteen}  # a point alone
    # The made-up records have the tokens of the usual stride, so that a stride alone saves no multiply-accumulates.
    assert gains[twelve, ":"][0] == (0, joined.loc[joined["schedule"] == "stride:12", "macs_ratio"].item())
    assert costs[own, "-"][0] == (1, 0)
    assert costs[sixteen, "-"][:2] == [(2.5, -0.04), (pytest.approx(1 / 0.3), -0.05)]


def test_the_axis_of_r_has_its_ticks_where_something_was_measured(records) -> None:
    gain = merging_figure(join(records)).axes[0]
    assert [label.get_text() for label in gain.get_xticklabels()] == ["0", "20", "40"]
