"""The table of a report as CSV, Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import pandas as pd

from bench.report.frame import panels
from bench.report.words import (
    BEST_BATCH,
    FAILURES,
    NOT_MEASURED,
    batch_words,
    device_name,
    engine_words,
    facts_line,
    interval,
    is_denominator,
    number,
    scope_words,
    series_name,
)

NOISY = "≈"
"""Stands before a speed-up of a record that is `noisy`."""
NOISY_MEANS = "rounds scattered by more than the sweep's limit"

BATCH_MEANS = "Best batch size of each: times are of the batch in parentheses, ratios a clip."

ALONE_MEANS = "Time over model alone: from waveforms to labels, over the same model on filterbanks, interleaved."
TRAINED_MEANS = (
    "Training step: forward, loss, backward and optimiser; MACs are those of its forward, speed-ups over the plain "
    "unmerged model on PyTorch's fused attention."
)

COLUMNS: dict[str, str] = {
    "configuration": "Configuration",
    "r": "r",
    "tokens_out": "Tokens left",
    "macs": "MACs (G)",
    "throughput": "Clips/s",
    "latency": "Latency (ms)",
    "speedup": "Speed-up",
    "oracle": "Of oracle",
    "alone": "Time over model alone",
    "map": "mAP",
    "delta": "Difference in mAP",
    "standing": "Pareto",
}
"""Columns of the readable tables and their heads; `alone` where waveforms were timed against the model alone."""


LATEX_COLUMNS: dict[str, str] = {
    "configuration": "Configuration",
    "r": "r",
    "tokens_out": "Tokens",
    "macs": "GMACs",
    "throughput": "Clips/s",
    "speedup": "Speed-up",
    "oracle": "Of oracle",
    "alone": "Over model",
    "map": "mAP",
    "delta": "Δ mAP",
}
"""Columns of the LaTeX table and their heads."""


SHORT = {NOT_MEASURED: "n.m.", FAILURES["oom"]: "OOM", FAILURES["timeout"]: "timeout"}
"""What a narrow table has room for."""
_COMMANDS = {"−": "$-$", "–": "--", "±": "$\\pm$", "Δ": "$\\Delta$", NOISY: "$\\approx$"}


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
    batch = "quality only" if pd.isna(first["batch_size"]) else batch_words(first["batch_size"])
    return f"{device_name(first)}, {batch}, {first['dtype']}{engine_words(panel)}{scope_words(first)}"


def columns_of(panel: pd.DataFrame) -> dict[str, str]:
    """Return the columns of a panel's table and their heads."""
    alone = bool(panel["over_alone"].notna().any())
    return {column: head for column, head in COLUMNS.items() if alone or column != "alone"}


def readable(panel: pd.DataFrame) -> pd.DataFrame:
    """Return a panel as text, one row a configuration; what failed or was not measured says so."""
    rows = []
    for _, row in panel.iterrows():
        timed = is_denominator(row) and pd.notna(row["throughput"])
        scored = series_name(row) == "unmerged" and pd.notna(row["mAP"])
        slow, bad = (FAILURES.get(row[status], NOT_MEASURED) for status in ("status", "quality_status"))
        noisy = NOISY if row["status"] == "noisy" else ""
        rows.append(
            {
                "configuration": series_name(row) + (" on the engine" if _is_other_unmerged(row) else ""),
                "r": "0" if row["method"] == "none" else number(row["r"], "{:.0f}", missing=str(row["schedule"])),
                "tokens_out": number(row["tokens_out"], "{:.0f}"),
                "macs": number(row["macs_per_clip"] / 1e9, "{:.2f}"),
                "throughput": number(row["throughput"], "{:.1f}", missing=slow),
                "latency": number(row["latency_ms"], "{:.1f}", missing=slow) + _batch(row),
                "speedup": "1" if timed else noisy + interval(row, "speedup_unmerged", "{:.2f}", missing=slow),
                "oracle": "–" if row["method"] == "none" else number(row["speedup_slice"], "{:.2f}", missing=slow),
                "alone": interval(row, "over_alone", "{:.3f}", missing=slow),
                "map": interval(row, "mAP", "{:.3f}", missing=bad),
                "delta": "0" if scored else interval(row, "delta_mAP", "{:+.4f}", missing=bad),
                "standing": row["standing"] or (NOT_MEASURED if NOT_MEASURED in (slow, bad) else "–"),
            }
        )
    return pd.DataFrame(rows, columns=list(columns_of(panel)))


def markdown(joined: pd.DataFrame) -> str:
    """Return one GitHub table a panel; the best of a column is bold."""
    parts = []
    for _, panel in panels(joined):
        text, best, heads = readable(panel), best_rows(panel), columns_of(panel)
        for column, index in best.items():
            text.loc[index, column] = f"**{text.loc[index, column]}**"
        lines = [
            f"**{panel_name(panel)}**",
            "",
            "| " + " | ".join(heads.values()) + " |",
            "|" + "|".join("---" if column in ("configuration", "standing") else "---:" for column in heads) + "|",
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
    for place, (_, panel) in enumerate(panels(joined), 1):
        text = narrow(panel)
        gaps = [f"{short}: {long}." for long, short in SHORT.items() if (text == short).any(axis=None)]
        text = text.map(escape)
        for rank, command in ((0, "textbf"), (1, "underline")):
            for column, index in best_rows(panel, rank).items():
                text.loc[index, column] = f"\\{command}{{{text.loc[index, column]}}}"
        front = (panel["standing"] == "front").to_numpy()
        text.loc[front, "configuration"] += "$^\\dagger$"
        text.columns = pd.Index([escape(LATEX_COLUMNS[column]) for column in text.columns])
        noisy = [f"{NOISY}: {NOISY_MEANS}."] if (panel["status"] == "noisy").any() else []
        facts = f"{panel_name(panel)}. {facts_line(panel)}, given as half their width. Dagger: on the Pareto front."
        caption = " ".join([facts, *noisy, *gaps])
        columns = "l" + "r" * (len(text.columns) - 1)
        parts.append(booktabs(text, columns, caption=caption, label=f"tab:{sweep}-{place}"))
    return "\n".join(parts)


def booktabs(text: pd.DataFrame, columns: str, *, caption: str, label: str) -> str:
    """Return a table of LaTeX cells, as wide as a page of two columns; `caption` is plain text."""
    body = text.style.hide(axis="index").to_latex(
        hrules=True,
        column_format=columns,
        caption=escape(caption),
        label=label,
        position="t",
        position_float="centering",
    )
    body = body.replace("{table}", "{table*}")
    return body.replace("\\begin{tabular}", "\\footnotesize\\setlength{\\tabcolsep}{4pt}\n\\begin{tabular}")


def narrow(panel: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of `readable` that a page of two columns has room for, intervals as half of their width."""
    text = readable(panel)[[name for name in LATEX_COLUMNS if name in columns_of(panel)]].replace(SHORT)
    for column, source, form in (
        ("speedup", "speedup_unmerged", "{:.2f}"),
        *([("alone", "over_alone", "{:.3f}")] if "alone" in text else []),
        ("map", "mAP", "{:.3f}"),
        ("delta", "delta_mAP", "{:+.4f}"),
    ):
        for index, (_, row) in enumerate(panel.iterrows()):
            if "[" in text.loc[index, column]:
                half = (row[f"{source}_high"] - row[f"{source}_low"]) / 2
                noisy = NOISY if text.loc[index, column].startswith(NOISY) else ""
                text.loc[index, column] = f"{noisy}{number(row[source], form)} ± {number(half, form.replace('+', ''))}"
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


def notes(joined: pd.DataFrame) -> list[str]:
    """Return what marks in these rows mean."""
    noisy, searched = (joined["status"] == "noisy").any(), (joined["batch_size"] == BEST_BATCH).any()
    alone, trained = joined["over_alone"].notna().any(), (joined["scope"] == "training_step").any()
    said = (
        (noisy, f"{NOISY}: {NOISY_MEANS}."),
        (searched, BATCH_MEANS),
        (alone, ALONE_MEANS),
        (trained, TRAINED_MEANS),
    )
    return [text for there, text in said if there]


def _is_other_unmerged(row: pd.Series) -> bool:
    """Return whether a row is the unmerged model on another engine than the one that speed-ups are over."""
    return series_name(row) == "unmerged" and not is_denominator(row)


def _batch(row: pd.Series) -> str:
    """Return the batch that a time is of, where every row of the panel has its own."""
    searched = row["batch_size"] == BEST_BATCH and pd.notna(row["latency_ms"])
    return f" ({row['batch_measured']:.0f})" if searched else ""


def escape(text: str) -> str:
    """Return text as LaTeX."""
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    for character, command in _COMMANDS.items():
        text = text.replace(character, command)
    return text


def _explain(joined: pd.DataFrame) -> str:
    return (
        f"{facts_line(joined)}. Speed-up: median time of the unmerged model over that of the configuration, "
        "interleaved in the same process; clips/s: that speed-up times the unmerged model's. Of oracle: throughput "
        "over that of a model that drops as many tokens for free. Difference in mAP: on the same clips, paired. "
        "Pareto: `dominated` is within the intervals of a better one, `clearly dominated` is not."
        + "".join(f" {note}" for note in notes(joined))
    )
