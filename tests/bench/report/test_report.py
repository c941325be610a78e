"""Reports say what the records say: joined rows, figures, tables and the page, against numbers known by hand."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import records as made

from bench.records.schema import Record
from bench.records.store import Store
from bench.report import ReportError, render
from bench.report.drawing.style import colour_of
from bench.report.figures import FIGURES, merging_figure, pareto_figure
from bench.report.frame import join
from bench.report.render import OPERATING_POINTS, write_report
from bench.report.tables.latex import latex
from bench.report.tables.markdown import markdown
from bench.report.words import device_name, facts_line, number
from bench.sweep.file import find_sweep

DRAWN = ("pareto", "merging", "schedules", "batches")
"""What the invented sweep has enough for."""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "invented"
    write_report(made.sweep(), folder, sweep="invented", formats=("pdf", "svg", "png"))
    return folder


def row_of(joined, schedule: str, batch_size: int = 8):
    found = joined[(joined["schedule"] == schedule) & (joined["batch_size"] == batch_size)]
    assert len(found) == 1
    return found.iloc[0]


def test_speed_and_quality_of_a_configuration_stand_in_one_row() -> None:
    row = row_of(join(made.sweep()), "constant:20")
    assert row["speedup_unmerged"] == pytest.approx(1 / 0.8)
    assert row["speedup_slice"] == pytest.approx(0.75 / 0.8)
    assert (row["mAP"], row["delta_mAP"]) == (0.48, pytest.approx(-0.02))


def test_throughput_does_not_follow_a_machine_that_was_slow_for_one_cell() -> None:
    joined = join(made.sweep())
    # 8 clips in 1 s unmerged; constant:40 is twice as fast as the unmerged model beside it.
    assert row_of(joined, "none")["throughput"] == pytest.approx(8)
    assert row_of(joined, "constant:40")["throughput"] == pytest.approx(16)
    assert row_of(joined, "constant:40")["clips_per_s"] == pytest.approx(8)  # as measured


def test_standing_on_the_front_is_told_panel_by_panel() -> None:
    joined = join(made.sweep())
    for batch_size in (1, 8):
        told = {
            name: row_of(joined, name, batch_size)["standing"]
            for name in ("none", "constant:20", "constant:40", "decreasing:40")
        }
        assert told == {
            "none": "front",
            "constant:20": "clearly dominated",
            "constant:40": "front",
            "decreasing:40": "front",
        }


def test_what_was_not_measured_says_so() -> None:
    records = [made.record("performance"), made.record("performance", "constant:20", sliced=0.5)]
    records += [made.record("quality")]
    text = markdown(join(records))
    line = next(line for line in text.splitlines() if "| 20 |" in line)
    assert line.count("not measured") == 3  # mAP, its difference, the front
    assert "nan" not in text.lower()


def test_latency_is_of_the_same_time_as_the_throughput_beside_it() -> None:
    slow = {"seconds": 3.0, "unmerged": 6.0}  # a cell for which the machine was three times slower than for the other
    records = [made.record("performance", seconds=2.0, unmerged=2.0), made.record("performance", "constant:20", **slow)]
    row = row_of(join(records), "constant:20")
    assert row["throughput"] == pytest.approx(4 / 4 * 2 * 8 / row_of(join(records), "none")["latency"] * 1e3)
    assert row["latency"] == pytest.approx(8e3 / row["throughput"])
    assert row["latency"] < row_of(join(records), "none")["latency"]


def test_a_brief_table_spans_the_front_and_keeps_the_unmerged_model() -> None:
    whole, brief = (markdown(join(made.sweep()), most=most) for most in (None, 2))
    rows = [line for line in brief.splitlines() if line.startswith(("| ToMe", "| **ToMe", "| unmerged"))]
    assert [line.split("|")[-2].strip() for line in rows] == ["front"] * len(rows)
    assert set(rows) < set(whole.splitlines())
    assert sum("unmerged" in line for line in rows) == 2  # one per batch size
    assert len(rows) == 2 + 2 * 2


def heads_of(text: str, panel: str) -> list[str]:
    lines = text.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("**") and panel in line)
    return [head.strip() for head in lines[at + 2].strip("|").split("|")]


def test_a_table_has_no_columns_that_nothing_in_it_was_asked_for() -> None:
    speed = [record for record in made.sweep() if record.cell.kind == "performance"]
    quality = [record for record in made.sweep() if record.cell.kind == "quality"]
    timed, scored = markdown(join(speed)), markdown(join(quality))
    assert heads_of(timed, "batch size 8")[-2:] == ["Speed-up ↑", "Of oracle ↑"]
    assert heads_of(scored, "quality only")[-3:] == ["MACs (G) ↓", "mAP ↑", "Difference in mAP ↑"]
    assert "not measured" not in timed + scored
    assert ("Speed-up:" in timed, "Difference in mAP:" in timed, "Pareto:" in timed) == (True, False, False)
    assert ("Speed-up:" in scored, "Difference in mAP:" in scored, "Pareto:" in scored) == (False, True, False)
    for text in (latex(join(speed), "speed"), latex(join(quality), "quality")):
        assert "Dagger" not in text
        rows = [line for line in text.splitlines() if "&" in line]
        assert len({line.count("&") + line.count("\\multicolumn{2}") for line in rows}) == 1


def test_a_table_without_oracle_and_unmerged_model_has_no_columns_of_theirs() -> None:
    merged = [made.record(kind, "constant:20") for kind in ("performance", "quality")]
    text = markdown(join(merged))
    assert heads_of(text, "batch size 8")[-3:] == ["Speed-up ↑", "mAP ↑", "Pareto"]
    assert "oracle" not in text
    assert "Difference" not in text
    assert "Δ" not in latex(join(merged), "one")
    whole = [*merged, *(made.record(kind) for kind in ("performance", "quality"))]
    assert heads_of(markdown(join(whole)), "batch size 8")[-3:] == ["mAP ↑", "Difference in mAP ↑", "Pareto"]


def test_what_was_asked_for_and_failed_keeps_its_columns() -> None:
    failed = [made.record(kind, status="error", message="broken") for kind in ("performance", "quality")]
    heads = heads_of(markdown(join(failed)), "batch size 8")
    assert {"Clips/s ↑", "Speed-up ↑", "mAP ↑", "Pareto"} <= set(heads)


def test_the_pareto_figure_has_a_point_for_every_row_and_hollow_dominated_ones() -> None:
    joined = join(made.sweep())
    figure = pareto_figure(joined)
    assert len([axis for axis in figure.axes if axis.get_visible()]) == 2
    for axis in figure.axes:
        points = [line for line in axis.lines if line.get_marker() not in ("None", "")]
        assert len(points) == 4
        hollow = {line.get_xdata()[0] for line in points if line.get_markerfacecolor() == "none"}
        unmerged = axis.get_title(loc="left").count("Batch 8") * 7 + 1
        assert sorted(hollow) == [pytest.approx(unmerged / 0.8)]  # constant:20
        assert sorted(text.get_text() for text in axis.texts) == ["20", "40", "40", "r=0"]


def test_the_legend_has_no_standing_that_no_point_has() -> None:
    def told(records: list[Record]) -> list[str]:
        return [text.get_text() for text in pareto_figure(join(records)).legends[0].get_texts()]

    alone = [made.record(kind, "constant:20") for kind in ("performance", "quality")]
    assert told(alone) == ["ToMe, constant r", "on the Pareto front"]
    assert "dominated" in told(made.sweep())


def test_the_merging_figure_draws_measured_oracle_and_bound() -> None:
    axis = merging_figure(join(made.sweep())).axes[0]
    drawn = {line.get_linestyle(): line for line in axis.lines if len(line.get_xdata()) >= 2}
    assert {"-", "--", ":"} <= set(drawn)
    # Of constant r: the oracle is 1 / 0.75 at r = 20 and 2 / 0.9 at r = 40.
    oracles = [line.get_ydata() for line in axis.lines if line.get_linestyle() == "--" and len(line.get_xdata()) == 3]
    assert [pytest.approx([1, 1 / 0.75, 2 / 0.9])] == [list(values) for values in oracles]


def test_speed_against_r_is_not_drawn_of_one_r() -> None:
    alike = [made.record("performance", f"{name}:20", seconds=0.5) for name in ("constant", "decreasing")]
    with pytest.raises(ValueError, match="all configurations remove the same number of tokens"):
        merging_figure(join(alike))
    assert merging_figure(join([*alike, made.record("performance")]))  # r = 0 is another


@pytest.mark.slow
def test_the_same_records_make_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    write_report(made.sweep(), tmp_path, sweep="invented", formats=("pdf", "svg", "png"))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == sorted(
        [f"{name}.{form}" for name in DRAWN for form in ("pdf", "svg", "png")]
        + ["table.csv", "table.md", "brief.md", "table.tex", "index.html"]
    )
    for name in files:
        assert (tmp_path / name).read_bytes() == (rendered / name).read_bytes(), name


def test_the_page_lists_failures_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    failed = made.record("performance", "constant:40", status="oom", message="<b>no memory</b>")
    write_report([*made.sweep()[:-2], failed], tmp_path, sweep="invented", formats=())
    page = (tmp_path / "index.html").read_text()
    assert "&lt;b&gt;no memory&lt;/b&gt;" in page
    assert re.search(r"1 of them not <code>ok</code> \(1 oom", page)
    assert "performance of tome constant:40, batch 8, float32" in page
    assert page.count('<td class="missing">out of memory</td>') == 4  # clips/s, latency, speed-up, of oracle
    assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//""", page)
    assert "@import" not in page
    assert page.count("<svg") == len(DRAWN)
    assert page.count("</title>\n") - 1 == page.count("<title>invented: ") == len(DRAWN)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for name in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert name in ids
    assert "c0ffee" in page


def test_speed_alone_is_reported_and_the_missing_figure_explained(tmp_path: Path) -> None:
    (tmp_path / "pareto.png").touch()  # of an earlier report
    speed = [record for record in made.sweep() if record.cell.kind == "performance"]
    write_report(speed, tmp_path, sweep="invented", formats=("png",))
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["batches.png", "merging.png"]
    assert "no configuration has both a speed and a quality record" in (tmp_path / "index.html").read_text()


def test_quality_alone_of_merged_models_makes_a_report(tmp_path: Path) -> None:
    merged = {name: tokens for name, tokens in made.TOKENS.items() if name != "none"}
    records = [made.record("quality", name, quality=tokens / 1000) for name, tokens in merged.items()]
    write_report(records, tmp_path, sweep="invented", formats=("png",))
    rows = [line for line in (tmp_path / "brief.md").read_text().splitlines() if line.startswith("| ToMe")]
    assert len(rows) == OPERATING_POINTS == len(records)


def test_nothing_but_failures_makes_a_page_that_says_so(tmp_path: Path) -> None:
    records = [made.record(kind, status="error", message="broken") for kind in ("performance", "quality")]
    write_report(records, tmp_path, sweep="invented", formats=("png",))
    page = (tmp_path / "index.html").read_text()
    assert "(2 error;" in page
    assert '<td class="words">unmerged</td><td>0</td>' in page
    undrawn = page.partition("<h2>Not drawn</h2>")[2].partition("</ul>")[0]
    assert undrawn.count("<li>") == len(FIGURES)
    assert "report:" not in undrawn
    assert '<td class="missing">failed</td>' in page
    assert list(tmp_path.glob("*.png")) == []


def test_what_was_noisy_is_marked_and_explained() -> None:
    noisy = made.record("performance", "constant:20", seconds=0.8, status="noisy", message="noise")
    for text, mark in ((markdown(join([noisy])), "≈1.25 ["), (latex(join([noisy]), "invented"), "$\\approx$1.25")):
        assert mark in text
        assert "rounds scattered by more than the sweep's limit" in text
    assert "≈" not in markdown(join(made.sweep()))


def test_times_of_searched_batches_say_their_batch() -> None:
    best = made.record("performance", batch_size="best", seconds=2.0, unmerged=2.0)
    text = markdown(join([best]))
    assert "| 2000.0 (16) |" in text
    assert "of the batch in parentheses" in text
    fixed = markdown(join(made.sweep()))
    assert "(16)" not in fixed
    assert "parentheses" not in fixed


def test_a_baseline_that_was_timed_has_its_column() -> None:
    plain = markdown(join([made.record("performance", plain_tome=3.0)]))
    assert heads_of(plain, "batch size 8")[-1] == "Over plain ToMe ↑"
    assert "| 3.00 [" in plain  # three times as long as the configuration
    assert "median time of that baseline over that of the configuration" in plain
    assert "plain ToMe" not in markdown(join(made.sweep()))


@pytest.mark.parametrize(("seconds", "bold"), [((1.3, 1.2), 0), ((0.8, 1.2), 1), ((0.8, 0.7), 1)])
def test_what_makes_nothing_faster_is_not_the_best(seconds: tuple[float, float], bold: int) -> None:
    merged = [made.record("performance", f"constant:{r}", seconds=s) for r, s in zip((20, 40), seconds, strict=True)]
    joined = join([made.record("performance"), *merged])
    speedups = [line.split("|")[7] for line in markdown(joined).splitlines() if line.startswith("| ToMe")]
    assert len(speedups) == 2
    assert sum("**" in text for text in speedups) == bold
    best = 1 / min(seconds)
    assert all(f"{best:.2f}" in text for text in speedups if "**" in text)


@pytest.mark.parametrize(
    ("qualities", "bold", "underlined"),
    [((0.4, 0.5, 0.5), 2, 0), ((0.5, 0.4, 0.4), 1, 2), ((0.5, 0.5, 0.5), 0, 0), ((0.5, 0.4, 0.3), 1, 1)],
)
def test_equal_scores_share_a_place(qualities: tuple[float, ...], bold: int, underlined: int) -> None:
    schedules = ("constant:20", "constant:40", "decreasing:40")
    joined = join([made.record("quality", one, quality=value) for one, value in zip(schedules, qualities, strict=True)])
    scores = [line.split("|")[5] for line in markdown(joined).splitlines() if line.startswith("| ToMe")]
    assert [f"{value:.3f}" in text for value, text in zip(qualities, scores, strict=True)] == [True] * 3
    assert sum("**" in text for text in scores) == bold
    cells = latex(joined, "invented")
    assert (cells.count("\\textbf{"), cells.count("\\underline{")) == (bold, underlined)


def test_one_thread_is_one_thread() -> None:
    row = join([made.record("performance")]).iloc[0]
    assert "1 thread" in device_name(row.copy() if row["threads"] == 1 else row.where(row.index != "threads", 1))
    assert "1 threads" not in device_name(row.where(row.index != "threads", 1))
    assert "2 threads" in device_name(row.where(row.index != "threads", 2))


def test_zero_has_no_sign_and_minus_is_a_minus() -> None:
    assert [number(value, "{:+.2f}") for value in (-0.001, 0.001, -0.5, 0.5)] == ["0.00", "0.00", "−0.50", "+0.50"]


def test_only_soundscapes_are_called_synthetic() -> None:
    joined = join(made.sweep())
    assert "synthetic" not in facts_line(joined)
    assert "synthetic scenes of real recordings" in facts_line(joined.assign(dataset="soundscapes"))


def test_the_figure_says_what_its_bars_are_and_how_sure_the_unmerged_model_is() -> None:
    figure = pareto_figure(join(made.sweep()))
    assert "paired difference to the unmerged model on the same clips" in figure.get_supxlabel()
    assert "0.500 [0.480, 0.520]" in figure.get_supxlabel()


def test_a_device_without_a_batch_size_leaves_its_place_empty() -> None:
    other = [record for record in made.sweep("slide-rule") if record.cell.question["workload"].get("batch_size") != 1]
    figure = pareto_figure(join(made.sweep() + other))
    shown = {axis.get_title(loc="left"): axis.get_subplotspec() for axis in figure.axes if axis.get_visible()}
    places = {(spec.rowspan.start, spec.colspan.start) for spec in shown.values()}
    assert places == {(0, 0), (0, 1), (1, 1)}


def test_two_machines_are_two_rows_of_panels() -> None:
    figure = pareto_figure(join(made.sweep() + made.sweep("slide-rule")))
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()]
    assert [title.split(",")[0] for title in titles] == ["Abacus", "Abacus", "Slide-Rule", "Slide-Rule"]


def test_records_on_disk_are_rendered_and_none_are_told_what_to_run(tmp_path: Path) -> None:
    for record in made.sweep():
        Store(tmp_path / "results", "abacus", "invented").write(record)
    paths = render(tmp_path / "results", tmp_path / "reports", sweep="invented", formats=("svg",))
    assert {path.name for path in paths} >= {"pareto.svg", "table.md", "index.html"}
    assert all(path.parent == tmp_path / "reports" / "invented" for path in paths)
    with pytest.raises(ReportError, match="no records of sweep 'other'.*nox -s bench -- --sweep other"):
        render(tmp_path / "results", tmp_path, sweep="other")
    with pytest.raises(ReportError, match="'other' in .*results; there are records of invented; run"):
        render(tmp_path / "results", tmp_path, sweep="other")
    with pytest.raises(ReportError, match="no records of sweep 'smoke'"):  # a file stands for the name in it
        render(tmp_path / "results", tmp_path, sweep=str(find_sweep("smoke").resolve()))
    with pytest.raises(ReportError, match="unknown format 'gif'; there are: pdf, svg, png"):
        render(tmp_path / "results", tmp_path, sweep="invented", formats=("gif",))


def test_more_lines_than_colours_are_refused() -> None:
    with pytest.raises(ValueError, match="7 schedules in one figure"):
        colour_of([str(i) for i in range(7)])


def test_text_of_svg_files_stays_text_in_a_font_that_others_have_too(rendered: Path) -> None:
    text = (rendered / "pareto.svg").read_text()
    assert ">Throughput (clips/s)</text>" in text
    assert set(re.findall('font-family: ([^;"]+)', text)) == {"'DejaVu Sans', Verdana, Arial, sans-serif"}


def test_a_report_of_clips_with_one_label_speaks_of_accuracy():
    records = [
        made.record("performance"),
        made.record("performance", "constant:20", seconds=0.5),
        made.record("quality", quality=0.5, accuracy=0.9),
        made.record("quality", "constant:20", quality=0.6, delta=-0.05, accuracy=0.8),
    ]
    joined = join(records)
    table = markdown(joined)
    assert "| Accuracy ↑ | Difference in accuracy ↑ |" in table
    assert "0.800" in table
    assert "Difference in accuracy: on the same clips, paired." in table
    assert "mAP" not in table
    assert re.search(
        r"\{Accuracy \$\\uparrow\$\} & .*\{\$\\Delta\$ accuracy \$\\uparrow\$\}", latex(joined, "invented")
    )
    figure = pareto_figure(joined)
    assert figure.axes[0].get_ylabel() == "Top-1 accuracy"
    assert "accuracy minus unmerged" in {axis.get_ylabel() for axis in merging_figure(joined).axes}
