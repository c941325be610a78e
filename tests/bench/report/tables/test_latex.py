"""Tables in LaTeX: what is written, and that LaTeX takes it and finds it no wider than a page of two columns."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import records as made

from bench.ablation.table import BETTER, WORSE, AblationTable
from bench.ablation.tables import CHOSEN
from bench.records.store import read_records
from bench.report.frame import join
from bench.report.tables.latex import emphasised, escape, latex
from bench.report.tables.latex_page import WIDTH, aligned, booktabs, in_lines, room_for_names

ROOT = Path(__file__).parents[4]
AWKWARD = r"a\b^c~d<e>f%g|h{i}\#j&k_$ λ τ Δ Σ ε Α ς ± × → ≥ “q” 10 µs ↑ ↓"
PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs}
\begin{document}
\input{table}
\end{document}
"""
ONE_COLUMN = r"""\documentclass{article}
PREAMBLE
\begin{document}
Before.
BODY
After.
\end{document}
"""
needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")


def compiled(table: str, folder: Path, paper: str = PAPER) -> str:
    """Return what pdflatex says of a paper, by default of two columns on its own small page, with this table in it."""
    (folder / "table.tex").write_text(table, encoding="utf-8")
    (folder / "paper.tex").write_text(paper)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "paper.pdf").stat().st_size > 1000
    return done.stdout


def test_it_escapes_and_marks_the_best() -> None:
    text = latex(join(made.sweep()), "invented")
    assert "model\\_with\\_underscores" in text
    assert text.count("\\toprule") == 2
    assert "\\textbf{20.0}" in text  # 8 clips in 0.4 s
    assert "\\underline{16.0}" in text
    assert "95 \\%" in text
    assert "Clips/s $\\uparrow$" in text


def test_indices_are_neither_bold_nor_underlined() -> None:
    assert emphasised("0.494$_{0.453}^{0.506}$", "underline") == "\\underline{0.494}$_{0.453}^{0.506}$"
    assert emphasised("12.3", "textbf") == "\\textbf{12.3}"


def test_every_character_of_a_name_is_written_as_latex() -> None:
    text = escape(AWKWARD)
    assert text.isascii()
    assert text.startswith(r"a\textbackslash{}b\textasciicircum{}c\textasciitilde{}d\textless{}e\textgreater{}f\%g")
    assert r"g\textbar{}h\{i\}\textbackslash{}\#j\&k\_\$ $\lambda$ $\tau$ $\Delta$ $\Sigma$ $\epsilon$ A $\va" in text
    assert text.endswith(r"$\times$ $\to$ $\ge$ ``q'' 10 $\mu$s $\uparrow$ $\downarrow$")


@needs_latex
def test_names_of_any_characters_compile(tmp_path: Path) -> None:
    compiled(latex(join(made.sweep()).assign(model=AWKWARD), "invented"), tmp_path)


def alternatives() -> AblationTable:
    return AblationTable(
        title="mAP less the unmerged model's, at equal measured speed-up",
        heads=("", "1.2 ×", "2 ×", "most"),
        rows=(
            ("**ToMe**", "−0.0012 [−0.0030, +0.0004]", "−0.0100 [−0.0150, −0.0050]", "2.50"),
            ("λ-ToFu", f"−0.0008 [−0.0020, +0.0004] {BETTER}", "not reached", "1.90"),
            ("Top-K", f"−0.0300 [−0.0400, −0.0200] {WORSE}", f"−0.0900 [−0.1000, −0.0800] {WORSE}", "≥ 3.10"),
        ),
        note=f"{CHOSEN}: chosen; {BETTER} better, {WORSE} worse.",
    )


def test_a_table_of_alternatives_marks_best_and_second_of_every_column() -> None:
    rows = alternatives().latex("Abacus, float32", "tab:x").splitlines()
    (tome,) = [row for row in rows if row.startswith("\\textbf{ToMe}")]
    (tofu,) = [row for row in rows if row.startswith("$\\lambda$-ToFu")]
    (topk,) = [row for row in rows if row.startswith("Top-K")]
    cells = [[cell.strip(" \\") for cell in row.split("&")[1:]] for row in (tome, tofu, topk)]
    assert [cell[0].split("{")[0] for cell in cells] == ["underline", "textbf", "$-$0.0300"]
    assert cells[0][2:4] == ["textbf{$-$0.0100}", "$_{-0.0150}^{-0.0050}$"]
    assert cells[1][2] == "multicolumn{2}{r}{not reached}"
    assert [cell[-1] for cell in cells] == ["underline{2.50}", "1.90", "textbf{$\\ge$ 3.10}"]
    assert cells[1][1].endswith("$^{\\bigtriangleup}$")
    assert "Abacus, float32" in " ".join(rows)


@needs_latex
def test_a_table_of_alternatives_compiles(tmp_path: Path) -> None:
    compiled(alternatives().latex("Abacus", "tab:x"), tmp_path)


def test_a_table_that_is_longer_than_a_page_goes_on_in_another_where_a_name_begins() -> None:
    names = [f"model {row // 5}" if row % 5 == 0 else "" for row in range(45)]
    text = pd.DataFrame({"name": names, "value": [f"{row} of 45" for row in range(45)]})
    found = booktabs(text, ["l", "r"], caption="All models. What it means.", label="tab:all", most_lines=30)
    first, second = found.split("\\end{table*}")[:2]
    assert found.count("\\begin{table*}") == 2
    assert "\\caption{All models. What it means.}" in first
    assert "\\caption{All models, continued.}" in second
    assert ("\\label{tab:all}" in first, "\\label{tab:all-2}" in second) == (True, True)
    rows = [re.findall(r"(\d+) of 45", part) for part in (first, second)]
    assert [int(row) for part in rows for row in part] == list(range(45))
    assert int(rows[1][0]) == 20  # where a model begins, nearest to the middle
    assert booktabs(text.head(30), ["l", "r"], caption="All.", label="tab:all").count("\\begin{table*}") == 1


@needs_latex
@pytest.mark.parametrize(("rows", "name"), [(44, "ToMe"), (44, "ToMe,\\\\ constant r"), (37, "ToMe")])
def test_a_table_of_any_length_fits_the_page_under_its_caption(rows: int, name: str, tmp_path: Path) -> None:
    cell = name if "," not in name else f"\\begin{{tabular}}{{@{{}}l@{{}}}}{name}\\end{{tabular}}"
    text = pd.DataFrame({"name": [cell] * rows, "value": ["0.494$_{0.453}^{0.506}$"] * rows})
    said = compiled(booktabs(text, ["l", "r"], caption="What it means, at length. " * 20, label="tab:x"), tmp_path)
    assert "too large" not in said


def test_last_digits_stand_below_each_other_whatever_hangs_behind_them() -> None:
    column = [
        "0.4754",
        "0.4655$_{\\pm 0.0038}$",
        "\\textbf{0.5}$_{0.1}^{0.6}$$^{\\bigtriangleup}$",
        "n.m.",
        "$\\approx$1.20",
    ]
    text = pd.DataFrame({"name": list("abcde"), "r": list("12345"), "mAP": column, "last": column})
    found, form = aligned(text, ["l", "r", "r", "r"])
    assert form == "lrr@{}lr@{}l"
    assert list(found) == ["name", "r", "\\multicolumn{2}{r}{mAP}", "\\multicolumn{2}{r@{}}{last}"]
    assert list(found.iloc[:, 2]) == [
        "0.4754 &",
        "0.4655 & $_{\\pm 0.0038}$",
        "\\textbf{0.5} & $_{0.1}^{0.6}$$^{\\bigtriangleup}$",
        "\\multicolumn{2}{r}{n.m.}",
        "$\\approx$1.20 &",
    ]
    assert list(found["r"]) == list("12345")


@needs_latex
@pytest.mark.parametrize(
    "path", sorted((ROOT / "reports").glob("*/*.tex")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_committed_tables_compile_and_fit_a_page_of_two_columns(path: Path, tmp_path: Path) -> None:
    said = compiled(path.read_text(encoding="utf-8"), tmp_path)
    assert re.findall(r"Overfull \\hbox.*|.*too large.*", said) == []


@needs_latex
def test_names_of_engines_break_where_one_line_would_be_too_wide(tmp_path: Path) -> None:
    """The committed file of this report says what an earlier code wrote; this is what the present code writes."""
    (folder,) = (ROOT / "results").glob("*/cpu_engines")
    table = latex(join(read_records(folder)), "cpu_engines")
    assert "Overfull" not in compiled(table, tmp_path)
    in_one_line = re.sub(r"\\begin\{tabular\}\{@\{\}l@\{\}\}(.*?)\\\\ (.*?)\\end\{tabular\}", r"\1 \2", table)
    assert "Overfull" in compiled(in_one_line, tmp_path)


@needs_latex
@pytest.mark.parametrize("name", ["default/table", "cpu_engines/table", "ablation_methods/ablation"])
def test_the_page_on_figures_says_how_one_column_has_room_for_a_table(name: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    preamble, body = page.split("```latex\n")[1].split("```")[0].split("\n\n")
    body = body.replace("\\input{reports/default/table}", "\\input{table}")
    table = (ROOT / "reports" / f"{name}.tex").read_text(encoding="utf-8")
    roomy = ONE_COLUMN.replace("PREAMBLE", preamble).replace("BODY", body)
    assert "Overfull" not in compiled(table, tmp_path, roomy)
    usual = ONE_COLUMN.replace("PREAMBLE", preamble).replace("BODY", "\\input{table}")
    assert "Overfull" in compiled(table, tmp_path, usual)


def test_a_caption_defines_columns_and_marks() -> None:
    text = latex(join(made.sweep()), "invented").partition("\\begin{tabular}")[0]
    for said in (
        "Tokens: those that leave the last block.",
        "Speed-up: over the unmerged model, in interleaved rounds.",
        "Of oracle: of the throughput of a model that drops as many tokens for free.",
        "$\\Delta$: paired difference to the unmerged model on the same clips.",
        "Bold: best of a column, underlined: second best.",
        "Dagger: on the Pareto front.",
    ):
        assert said in text
    assert "fewer than 5 rounds" not in text
    speed = latex(join([made.record("performance", scope="training_step", rounds=3)]), "invented")
    assert "Speed-up: of a training step, over that of the plain unmerged model" in speed
    assert "oracle" not in speed
    few = [made.record("performance"), made.record("performance", "constant:20", rounds=3)]
    assert "A speed-up without an interval comes from fewer than 5 rounds." in latex(join(few), "invented")


def test_a_name_takes_as_many_lines_as_the_other_columns_leave_it_room_for() -> None:
    long = "ToMe, decreasing r, by tokens after attention, placed before attention"
    assert in_lines(long, 300) == [long]
    assert in_lines(long, 190) == ["ToMe, decreasing r, by tokens after attention,", "placed before attention"]
    assert in_lines(long, 100) == ["ToMe, decreasing r,", "by tokens after attention,", "placed before attention"]
    assert in_lines("a name without a comma", 10) == ["a name without a comma"]
    one = pd.DataFrame({"name": ["x"], "mAP": ["0.490 [0.440, 0.502]"]})
    assert room_for_names(one.assign(other="0.49")) < room_for_names(one) < WIDTH
    assert room_for_names(one) < room_for_names(one.assign(mAP="0.490"))
