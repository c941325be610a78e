"""The table of a report as CSV, Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import pandas as pd

from bench.report.frame import panels
from bench.report.words import facts_line, series_name

NOT_MEASURED = "not measured"

COLUMNS: dict[str, str] = {
    "configuration": "Configuration",
    "r": "r",
    "tokens_out": "Tokens left",
    "macs": "MACs (G)",
    "throughput": "Clips/s",
    "latency": "Latency (ms)",
    "speedup": "Speed-up",
    "oracle": "Of oracle",
    "map": "mAP",
    "delta": "Difference in mAP",
    "standing": "Pareto",
}
"""Columns of the readable tables and their heads."""


LATEX_COLUMNS: dict[str, str] = {
    "configuration": "Configuration",
    "r": "r",
    "tokens_out": "Tokens",
    "macs": "GMACs",
    "throughput": "Clips/s",
    "speedup": "Speed-up",
    "oracle": "Of oracle",
    "map": "mAP",
    "delta": "Δ mAP",
}
"""Columns of the LaTeX table and their heads."""


def tables(joined: pd.DataFrame, sweep: str) -> dict[str, str]:
    """Return `table.csv` (all columns of the joined frame), `table.md` and `table.tex` by file name."""
    return {
        "table.csv": joined.to_csv(index=False, lineterminator="\n"),
        "table.md": markdown(joined),
        "table.tex": latex(joined, sweep),
    }


def panel_name(panel: pd.DataFrame) -> str:
    """Return what all rows of a panel share."""
    first = panel.iloc[0]
    threads = f", {first['threads']} threads" if first["device"] == "cpu" else ""
    batch = "quality only" if pd.isna(first["batch_size"]) else f"batch size {first['batch_size']:.0f}"
    return f"{first['device_name']}{threads}, {batch}, {first['dtype']}"


def readable(panel: pd.DataFrame) -> pd.DataFrame:
    """Return a panel as text, one row a configuration; what was not measured says so."""
    rows = []
    for _, row in panel.iterrows():
        unmerged = row["method"] == "none"
        rows.append(
            {
                "configuration": series_name(row),
                "r": "0" if unmerged else _number(row["r"], "{:.0f}", missing=str(row["schedule"])),
                "tokens_out": _number(row["tokens_out"], "{:.0f}"),
                "macs": _number(row["macs_per_clip"] / 1e9, "{:.2f}"),
                "throughput": _number(row["throughput"], "{:.1f}"),
                "latency": _number(row["latency_ms"], "{:.1f}"),
                "speedup": "1" if unmerged else _interval(row, "speedup_unmerged", "{:.2f}"),
                "oracle": "–" if unmerged else _number(row["speedup_slice"], "{:.2f}"),
                "map": _interval(row, "mAP", "{:.3f}"),
                "delta": "0" if unmerged else _interval(row, "delta_mAP", "{:+.4f}"),
                "standing": row["standing"] or NOT_MEASURED,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def markdown(joined: pd.DataFrame) -> str:
    """Return one GitHub table a panel; the best of a column is bold."""
    parts = []
    for _, panel in panels(joined):
        text, best = readable(panel), best_rows(panel)
        for column, index in best.items():
            text.loc[index, column] = f"**{text.loc[index, column]}**"
        lines = [
            f"**{panel_name(panel)}**",
            "",
            "| " + " | ".join(COLUMNS.values()) + " |",
            "|" + "|".join("---" if column in ("configuration", "standing") else "---:" for column in COLUMNS) + "|",
            *("| " + " | ".join(values) + " |" for values in text.itertuples(index=False, name=None)),
        ]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _explain(joined)]) + "\n"


def latex(joined: pd.DataFrame, sweep: str) -> str:
    """Return one booktabs table a panel, for `\\usepackage{booktabs}`, as wide as a page of two columns.

    Best in bold, second best underlined, a dagger on what stands on the Pareto front; an interval is written as
    half of its width.
    """
    parts = ["% Made from records; do not edit. Needs \\usepackage{booktabs}."]
    for number, (_, panel) in enumerate(panels(joined), 1):
        text = narrow(panel).map(_escape)
        for place, command in ((0, "textbf"), (1, "underline")):
            for column, index in best_rows(panel, place).items():
                text.loc[index, column] = f"\\{command}{{{text.loc[index, column]}}}"
        front = (panel["standing"] == "front").to_numpy()
        text.loc[front, "configuration"] += "$^\\dagger$"
        text.columns = pd.Index([_escape(LATEX_COLUMNS[column]) for column in text.columns])
        caption = f"{panel_name(panel)}. {facts_line(panel)}, given as half their width. Dagger: on the Pareto front."
        body = text.style.hide(axis="index").to_latex(
            hrules=True,
            column_format="l" + "r" * (len(text.columns) - 1),
            caption=_escape(caption),
            label=f"tab:{sweep}-{number}",
            position="t",
            position_float="centering",
        )
        body = body.replace("{table}", "{table*}")
        parts.append(body.replace("\\begin{tabular}", "\\footnotesize\\setlength{\\tabcolsep}{4pt}\n\\begin{tabular}"))
    return "\n".join(parts)


def narrow(panel: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of `readable` that a page of two columns has room for, intervals as half of their width."""
    text = readable(panel)[list(LATEX_COLUMNS)].copy()
    for column, source, form in (
        ("speedup", "speedup_unmerged", "{:.2f}"),
        ("map", "mAP", "{:.3f}"),
        ("delta", "delta_mAP", "{:+.4f}"),
    ):
        for index, (_, row) in enumerate(panel.iterrows()):
            if "[" in text.loc[index, column]:
                half = (row[f"{source}_high"] - row[f"{source}_low"]) / 2
                value = _number(row[source], form)
                text.loc[index, column] = f"{value} ± {_number(half, form.replace('+', ''))}"
    return text


def best_rows(panel: pd.DataFrame, place: int = 0) -> dict[str, int]:
    """Return the row with the best value (or the next ones, by `place`) of throughput, speed-up and mAP.

    Rows are positions in the panel. A tie in what is printed is broken by the value itself.
    """
    reset = panel.reset_index(drop=True)
    found = {}
    for column, source in (("throughput", "throughput"), ("speedup", "speedup_unmerged"), ("map", "mAP")):
        values = reset.loc[reset["method"] != "none", source] if column == "speedup" else reset[source]
        ranked = values.dropna().sort_values(ascending=False, kind="stable")
        if len(ranked) > place and len(ranked) > 1:
            found[column] = int(ranked.index[place])
    return found


def _number(value: float, form: str, *, missing: str = NOT_MEASURED) -> str:
    return missing if pd.isna(value) else form.format(value).replace("-", "−")


def _interval(row: pd.Series, name: str, form: str) -> str:
    if pd.isna(row[name]):
        return NOT_MEASURED
    value, low, high = (_number(row[key], form) for key in (name, f"{name}_low", f"{name}_high"))
    return value if pd.isna(row[f"{name}_low"]) else f"{value} [{low}, {high}]"


def _escape(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    return text.replace("−", "$-$").replace("–", "--").replace("±", "$\\pm$").replace("Δ", "$\\Delta$")


def _explain(joined: pd.DataFrame) -> str:
    return (
        f"{facts_line(joined)}. Speed-up: median time of the unmerged model over that of the configuration, "
        "interleaved in the same process; clips/s: that speed-up times the unmerged model's. Of oracle: throughput "
        "over that of a model that drops as many tokens for free. Difference in mAP: on the same clips, paired. "
        "Pareto: `dominated` is within the intervals of a better one, `clearly dominated` is not."
    )
