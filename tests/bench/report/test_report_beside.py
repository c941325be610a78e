"""The page of a sweep of alternatives shows what their comparison has put into its folder, and says where to look."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import records as made

from bench.report.beside import NOTHING, beside_report
from bench.report.drawing.style import colour_of
from bench.report.render import write_report

SVG = '<?xml version="1.0"?>\n<svg width="1pt" height="1pt" viewBox="0 0 1 1"><g id="a"/></svg>\n'


def compared(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    text = "# x\n\n![What each loses [by r].](fronts.svg)\n\nWhat\n\n![Classes.](classes.svg)\n"
    for name, content in (("ablation.md", text), ("ablation.csv", "a"), ("fronts.svg", SVG)):
        (folder / name).write_text(content)


def test_figures_are_shown_and_tables_linked(tmp_path: Path) -> None:
    compared(tmp_path)
    write_report(made.sweep(), tmp_path, sweep="invented", formats=())
    page = (tmp_path / "index.html").read_text()
    assert "<title>invented: What each loses [by r].</title>" in page
    assert '<g id="fronts-a"/>' in page
    assert "Classes." not in page  # its file is not there
    assert '<a href="ablation.md">ablation.md</a>, <a href="ablation.csv">ablation.csv</a>.</p>' in page
    assert (tmp_path / "fronts.svg").exists()


def test_a_report_alone_links_nothing(tmp_path: Path) -> None:
    write_report(made.sweep(), tmp_path, sweep="invented", formats=())
    assert "ablation." not in (tmp_path / "index.html").read_text()
    assert beside_report(tmp_path) == NOTHING


def test_where_series_are_too_many_a_reader_is_led_to_the_figure_of_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="7 schedules") as found:
        colour_of(list("abcdefg"))
    reason = str(found.value)
    assert NOTHING.instead(reason) == reason
    compared(tmp_path)
    told = beside_report(tmp_path).instead(reason)
    assert told.endswith("see fronts, above, which has a panel for each alternative")
    assert "split the sweep" not in told
    assert beside_report(tmp_path).instead("no record says so") == "no record says so"


def test_on_a_phone_a_figure_scrolls_in_its_box_instead_of_shrinking(tmp_path: Path) -> None:
    write_report(made.sweep(), tmp_path, sweep="invented", formats=())
    style = (tmp_path / "index.html").read_text().partition("</style>")[0]
    assert "figure { margin: 1rem 0; overflow-x: auto; }" in style
    assert "min-width: 40rem" in style
