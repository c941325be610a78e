"""The columns of a report's tables: which a table has, their heads, and what they and the marks in them mean."""

from __future__ import annotations

import pandas as pd

from bench.report.panels import panels
from bench.report.words import BEST_BATCH, score_word

NOISY = "≈"
"""Mark before the times, and ratios of times, of a record that is `noisy`."""
NOISY_MEANS = "rounds scattered by more than the sweep's limit"

DISTURBED = "‡"
"""Mark before those of a record that is `disturbed`."""
DISTURBED_MEANS = "disturbed by other processes in both attempts, and left out of all comparisons"
FEW_MEANS = "A speed-up without an interval comes from fewer than 5 rounds."

MARKS = {"noisy": NOISY, "disturbed": DISTURBED}
"""Marks before every time, and every ratio of times, by status."""

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
