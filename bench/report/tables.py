"""The tables of a report as text and as Markdown."""

from __future__ import annotations

from collections.abc import Container, Mapping

import pandas as pd

from bench.report.markdown import markdown_table
from bench.report.panels import panels
from bench.report.words import (
    BEST_BATCH,
    FAILURES,
    NOT_MEASURED,
    batch_words,
    device_name,
    dtype_words,
    engine_words,
    facts_line,
    interval,
    is_denominator,
    is_unmerged,
    number,
    scope_words,
    score_word,
    table_name,
)

NOISY = "≈"
"""Mark before the times, and ratios of times, of a record that is `noisy`."""
NOISY_MEANS = "rounds scattered by more than the sweep's limit"

DISTURBED = "‡"
"""Mark before those of a record that is `disturbed`."""
DISTURBED_MEANS = "disturbed by other processes in both attempts, and left out of all comparisons"
FEW_MEANS = "A speed-up without an interval comes from fewer than 5 rounds."

MARKS = {"noisy": NOISY, "disturbed": DISTURBED}
"""Marks before every time, and every ratio of times, by status."""
TIMES = ("throughput", "latency", "real_time", "delay", "speedup", "oracle", "alone")
"""Columns of times and of ratios of times, beside those of `OTHERS`."""

SPEEDUP_MEANS = (
    "Speed-up: median time of the unmerged model over that of the configuration, interleaved in the same process; "
    "clips/s: that speed-up times the unmerged model's."
)
LATENCY_MEANS = "Latency: batch size over clips/s."
ORACLE_MEANS = "Of oracle: throughput over that of a model that drops as many tokens for free."
OTHERS_MEAN = "Over …: median time of that baseline over that of the configuration, interleaved."
DELTA_MEANS = "Difference in {score}: on the same clips, paired."
PARETO_MEANS = (
    "Pareto: another configuration beats a “dominated” one, but within the intervals of at least one axis; it beats a "
    "“clearly dominated” one beyond the intervals of both."
)
BATCH_MEANS = "Best batch size of each: times are of the batch in parentheses, ratios are per clip."
ALONE_MEANS = "Time over model alone: from waveforms to labels, over the same model on filterbanks, interleaved."
TOO_SLOW = "cannot keep up"
TOO_FEW = "too few samples"
"""Text in place of a percentile of a delay that was measured, but not often enough."""
STREAM_MEANS = (
    "Real-time factor: median seconds of computing per second of sound, of one window at a time; at 1 and above, a "
    "model cannot keep up. Delay: median, and in parentheses the 95th percentile, of the time from the last sample of "
    "a window to its labels, with the front end. Both are at the clips/s beside them."
)
TRAINED_MEANS = (
    "Training step: forward, loss, backward and optimiser; MACs are those of its forward, speed-ups over the plain "
    "unmerged model on PyTorch's fastest attention for it."
)

OTHERS = {
    "plain": "plain PyTorch",
    "tome_plain": "plain ToMe",
    "timm": "timm",
    "timm_compiled": "compiled timm",
    "hf": "Hugging Face",
    "fa4": "FlashAttention-4",
    "fa4_bias": "plain merging on FlashAttention-4",
    "flex_bias": "plain merging on FlexAttention",
}
"""Baselines whose speed-ups have a column where they were timed, and their names in its head."""
COLUMNS: dict[str, str] = {
    "configuration": "Configuration",
    "r": "r",
    "tokens_out": "Tokens left",
    "macs": "MACs (G) ↓",
    "throughput": "Clips/s ↑",
    "latency": "Latency (ms) ↓",
    "real_time": "Real-time factor ↓",
    "delay": "Delay in ms, median (95 %) ↓",
    "speedup": "Speed-up ↑",
    "oracle": "Of oracle ↑",
    **{f"over_{baseline}": f"Over {name} ↑" for baseline, name in OTHERS.items()},
    "alone": "Time over model alone ↓",
    "map": "{score} ↑",
    "delta": "Difference in {score} ↑",
    "standing": "Pareto",
}
"""Heads of the columns of readable tables; `{score}` stands for the measure of the data, arrows show what is better."""
WORDS = ("configuration", "standing")
"""Columns of text, which are aligned left."""


def panel_name(panel: pd.DataFrame) -> str:
    """Return the name of a panel: what all its rows share."""
    first = panel.iloc[0]
    batch = "quality only" if pd.isna(first["batch_size"]) else batch_words(first["batch_size"])
    return f"{device_name(first)}, {batch}{dtype_words(panel)}{engine_words(panel)}{scope_words(first)}"


def columns_of(panel: pd.DataFrame) -> dict[str, str]:
    """Return the columns of a panel's table with their heads, without those that no row was meant to measure."""
    timed, scored = ((panel[status] != "").any() for status in ("status", "quality_status"))
    streamed = panel["real_time"].notna().any()
    paired = (panel["method"] == "none").any() or panel["delta_score"].notna().any()
    groups = (
        (timed, ("throughput", "latency", "speedup")),
        (panel["speedup_slice"].notna().any(), ("oracle",)),
        (panel["over_alone"].notna().any(), ("alone",)),
        (streamed, ("real_time", "delay")),
        (not streamed, ("latency",)),  # a delay is the latency of one window
        *((panel[f"speedup_{other}"].notna().any(), (f"over_{other}",)) for other in OTHERS),
        (scored, ("map",)),
        (scored and paired, ("delta",)),
        (timed and scored, ("standing",)),
    )
    absent = {column for asked, columns in groups if not asked for column in columns}
    word = score_word(panel)
    return {column: with_score(head, word) for column, head in COLUMNS.items() if column not in absent}


def with_score(head: str, word: str) -> str:
    """Return the head of a column with the measure of the data; it begins with a capital, unless with mAP."""
    first = head.startswith("{score}") and word != "mAP"
    return head.replace("{score}", word.capitalize() if first else word)


def readable(panel: pd.DataFrame) -> pd.DataFrame:
    """Return a panel as text, one row per configuration; cells say what failed or was not measured."""
    rows = []
    for _, row in panel.iterrows():
        timed = is_denominator(row) and pd.notna(row["throughput"])
        scored = is_unmerged(row) and pd.notna(row["score"])
        slow, bad = (FAILURES.get(row[status], NOT_MEASURED) for status in ("status", "quality_status"))
        cells = {
            "configuration": table_name(row) + (" on the engine" if _is_other_unmerged(row) else ""),
            "r": "0" if row["method"] == "none" else number(row["r"], "{:.0f}", missing="–"),
            "tokens_out": number(row["tokens_out"], "{:.0f}"),
            "macs": number(row["macs_per_clip"] / 1e9, "{:.2f}"),
            "throughput": number(row["throughput"], "{:.1f}", missing=slow),
            "latency": number(row["latency"], "{:.1f}", missing=slow) + _batch(row),
            "real_time": number(row["real_time"], "{:.3f}", missing=slow),
            "delay": _delay(row, slow),
            "speedup": "1" if timed else interval(row, "speedup_unmerged", "{:.2f}", missing=slow),
            "oracle": "–" if row["method"] == "none" else number(row["speedup_slice"], "{:.2f}", missing=slow),
            **{f"over_{other}": interval(row, f"speedup_{other}", "{:.2f}", missing=slow) for other in OTHERS},
            "alone": interval(row, "over_alone", "{:.3f}", missing=slow),
            "map": interval(row, "score", "{:.3f}", missing=bad),
            "delta": "0" if scored else interval(row, "delta_score", "{:+.4f}", missing=bad),
            "standing": row["standing"] or (NOT_MEASURED if NOT_MEASURED in (slow, bad) else "–"),
        }
        rows.append(cells | _marked(cells, MARKS.get(row["status"], ""), bare={slow, "–", "1"}))
    return pd.DataFrame(rows, columns=list(columns_of(panel)))


def _marked(cells: Mapping[str, str], mark: str, *, bare: Container[str]) -> dict[str, str]:
    """Return the cells of a row that hold times, or their ratios, with a mark before each, without the `bare` ones."""
    timed = (*TIMES, *(f"over_{other}" for other in OTHERS))
    return {name: f"{mark}{cells[name]}" for name in timed if cells[name] not in bare}


def markdown(joined: pd.DataFrame, *, most: int | None = None, about: str = "") -> str:
    """Return one GitHub table per panel, with the best of each column in bold.

    most: see `brief`; without it tables are whole. about: text at the end.
    """
    parts = []
    shown = [whole if most is None else brief(whole, most) for _, whole in panels(joined)]
    for panel in shown:
        text, best, heads = readable(panel), best_rows(panel), columns_of(panel)
        for column, rows in best.items():
            text.loc[rows, column] = [f"**{cell}**" for cell in text.loc[rows, column]]
        lines = [
            f"**{in_markdown(panel_name(panel))}**",
            "",
            markdown_table(
                tuple(heads.values()),
                ([*map(in_markdown, values)] for values in text.itertuples(index=False, name=None)),
                words=[number for number, column in enumerate(heads) if column in WORDS],
            ),
        ]
        parts.append("\n".join(lines))
    said = [f"{in_markdown(facts_line(joined))}.", *explain(pd.concat(shown)), in_markdown(about)]
    return "\n\n".join([*parts, " ".join(filter(None, said))]) + "\n"


def in_markdown(text: str) -> str:
    """Escape text for Markdown, so that nothing in it is a tag or the end of a cell."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")


def brief(panel: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return a panel's unmerged models and at most `most` others from its front, evenly spaced from slow to fast.

    In a panel without a front, the others are chosen from all that were timed, or from all if none was.
    """
    others = panel[panel["method"] != "none"].sort_values("throughput", kind="stable")
    others = others[others["throughput"].notna() | others["throughput"].isna().all()]
    front = others[others["standing"] == "front"]
    chosen = front if len(front) else others
    if len(chosen) > most:
        chosen = chosen.iloc[[round(i * (len(chosen) - 1) / (most - 1)) for i in range(most)]]
    return pd.concat([panel[panel["method"] == "none"], chosen])


def best_rows(panel: pd.DataFrame, place: int = 0) -> dict[str, list[int]]:
    """Return the rows with the best values of throughput, speed-up and score, or with the next best ones, by `place`.

    A disturbed speed is never the best. Rows are positions in the panel. Ties in what is printed are broken by the
    values themselves; equal values share their place.
    """
    reset = panel.reset_index(drop=True)
    found = {}
    for column, source in (("throughput", "throughput"), ("speedup", "speedup_unmerged"), ("map", "score")):
        values = reset.loc[reset["method"] != "none", source] if column == "speedup" else reset[source]
        values = values if column == "map" else values[reset["status"] != "disturbed"]
        compared = values.dropna()
        # A speed-up that makes nothing faster is not the best.
        eligible = compared[compared > 1] if column == "speedup" else compared
        if compared.nunique() > 1 and (rows := in_place(eligible, place)):
            found[column] = rows
    return found


def in_place(values: pd.Series, place: int) -> list[int]:
    """Return the index of the largest values, or of the next ones, by `place`; two equal best ones leave no second."""
    ranks = values.rank(ascending=False, method="min")
    return [int(index) for index in ranks.index[ranks == place + 1]]


def explain(joined: pd.DataFrame) -> list[str]:
    """Return the meanings of columns and marks in the tables of these rows, a sentence or two each."""
    asked = {column for _, panel in panels(joined) for column in columns_of(panel)}
    noisy, disturbed = ((joined["status"] == status).any() for status in ("noisy", "disturbed"))
    searched = (joined["batch_size"] == BEST_BATCH).any()
    few = (joined["speedup_unmerged"].notna() & joined["speedup_unmerged_low"].isna()).any()
    said = (
        ("speedup" in asked, SPEEDUP_MEANS),
        ("latency" in asked, LATENCY_MEANS),
        ("oracle" in asked, ORACLE_MEANS),
        (any(f"over_{other}" in asked for other in OTHERS), OTHERS_MEAN),
        ("delta" in asked, with_score(DELTA_MEANS, score_word(joined))),
        ("standing" in asked, PARETO_MEANS),
        (noisy, f"{NOISY}: {NOISY_MEANS}."),
        (disturbed, f"{DISTURBED}: {DISTURBED_MEANS}."),
        (few, FEW_MEANS),
        (searched, BATCH_MEANS),
        ("alone" in asked, ALONE_MEANS),
        ("delay" in asked, STREAM_MEANS),
        ((joined["scope"] == "training_step").any(), TRAINED_MEANS),
    )
    return [text for there, text in said if there]


def _is_other_unmerged(row: pd.Series) -> bool:
    """Return whether a row is an unmerged model other than the one that speed-ups are over."""
    return is_unmerged(row) and not is_denominator(row)


def _delay(row: pd.Series, missing: str) -> str:
    """Return median and 95th percentile of the delay of a stream's labels, or why there is none."""
    if row["real_time"] >= 1 or row["real_time_factor"] >= 1:  # by the panel's time, or when it was measured
        return TOO_SLOW
    if pd.isna(row["delay_p50"]):
        return missing
    return f"{row['delay_p50']:.1f} ({number(row['delay_p95'], '{:.1f}', missing=TOO_FEW)})"


def _batch(row: pd.Series) -> str:
    """Return the batch size of a time, in parentheses, if every row of the panel has its own; else empty text."""
    searched = row["batch_size"] == BEST_BATCH and pd.notna(row["latency"])
    return f" ({row['batch_measured']:.0f})" if searched else ""
