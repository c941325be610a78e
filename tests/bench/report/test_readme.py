"""The README's results are those of the rendered report, and come from nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import records as made

from bench.report import render
from bench.report.readme import ReadmeError, section, update_readme
from bench.report.render import write_report

ROOT = Path(__file__).parents[3]


def test_only_what_is_between_the_marks_changes(tmp_path: Path) -> None:
    write_report(made.sweep(), tmp_path / "invented", sweep="invented", formats=("png",))
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results: invented -->\nold\n<!-- end of results -->\nafter\n")
    update_readme(readme, tmp_path / "invented", sweep="invented")
    text = readme.read_text()
    assert text.startswith("before\n<!-- results: invented -->\n**Abacus")
    assert text.endswith("<!-- end of results -->\nafter\n")
    assert "old" not in text
    assert "| ToMe, decreasing r | 40 | 127 |" in text
    update_readme(readme, tmp_path / "invented", sweep="invented")
    assert readme.read_text() == text


def test_a_readme_without_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing here")
    with pytest.raises(ReadmeError, match="needs the lines '<!-- results: invented -->'"):
        update_readme(tmp_path / "README.md", tmp_path, sweep="invented")


def test_this_readme_shows_what_the_committed_report_says() -> None:
    assert section(ROOT / "reports" / "default") in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(path.parent.name for path in (ROOT / "reports").glob("*/brief.md")))
def test_a_committed_report_says_what_the_committed_records_say(name: str, tmp_path: Path) -> None:
    render(ROOT / "results", tmp_path, sweep=name, formats=())
    for file in ("table.md", "brief.md", "table.tex"):
        assert (tmp_path / name / file).read_text() == (ROOT / "reports" / name / file).read_text(), file
    # Sums of floats end differently on another processor.
    pd.testing.assert_frame_equal(
        *(pd.read_csv(folder / name / "table.csv") for folder in (tmp_path, ROOT / "reports")), rtol=1e-9
    )
