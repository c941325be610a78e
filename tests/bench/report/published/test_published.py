"""Figures published elsewhere stand in the reports of the paper's sweeps, apart from what was measured."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pandas as pd
import pytest
from report.records import record

from bench.report.published.figures import FILE, Published, published
from bench.report.render import write_report
from bench.sweep.file import find_sweep, load_sweep

ROOT = Path(__file__).parents[4]
SWEEPS = ("paper_audioset", "paper_esc50", "paper_speechcommands", "paper_fsd50k")


def report_of(sweep: str, folder: Path) -> dict[str, str]:
    records = [record("quality", "none", quality=0.4), record("quality", "constant:40", quality=0.39)]
    write_report(records, folder, sweep=sweep, formats=())
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.suffix in (".md", ".html")}


def test_every_figure_belongs_to_a_sweep_and_has_one_score_and_a_source() -> None:
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    assert tuple(tables) == SWEEPS
    for sweep in SWEEPS:
        assert load_sweep(find_sweep(sweep)).name == sweep
        assert len(published(sweep)) == len(tables[sweep])
        assert len({figure.mAP is None for figure in published(sweep)}) == 1
        assert all(figure.note for figure in published(sweep))


def test_a_paper_report_has_them_in_a_table_of_their_own(tmp_path: Path) -> None:
    texts = report_of("paper_esc50-my_model", tmp_path)
    for name in ("published.md", "index.html"):
        assert "AST, AudioSet first" in texts[name]
        assert "0.9575" in texts[name]
        assert "https://github.com/YuanGongND/ast" in texts[name]
        assert "no difference between the two is computed" in texts[name]
        assert "ids invented" in texts[name]  # of the clips that were measured
    assert "0.9575" not in texts["table.md"] + texts["brief.md"]


def test_the_claims_ask_the_figures_that_the_reports_show() -> None:
    told = pd.read_csv(ROOT / "reports" / "published.csv").set_index("model")
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    models = {entry["model"]: entry for entries in tables.values() for entry in entries}
    assert set(told.index) == set(models)
    for column in ("mAP", "accuracy", "parameters_m", "gmacs"):
        stated = {model: entry[column] for model, entry in models.items() if column in entry}
        assert told[column].dropna().to_dict() == stated


def test_other_reports_have_none(tmp_path: Path) -> None:
    texts = report_of("invented", tmp_path)
    assert "published.md" not in texts
    assert "Published elsewhere" not in texts["index.html"]
    assert published("paper_esc50x") == published("my-paper_esc50") == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "give mAP or accuracy"),
        ({"mAP": 0.4, "accuracy": 0.9}, "give mAP or accuracy"),
        ({"mAP": 45.9}, "a share between 0 and 1"),
        ({"mAP": 0.4, "source": "a paper"}, "source is 'a paper'; give an https:// address"),
    ],
)
def test_a_figure_without_score_or_source_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Published(**{"model": "x", "note": "y", "source": "https://example.org"} | wrong)
