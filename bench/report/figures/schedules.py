"""The shapes of schedules beside what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.drawing.labels import Label, about_labels, place_labels
from bench.report.drawing.layout import about_left_out, error_bar, fix_layout, footnote, legend
from bench.report.drawing.series import Styles, is_starred, star, style_of, styles_of, unmerged_keys
from bench.report.drawing.style import DOUBLE, GREY, GUIDE
from bench.report.panels import PANEL, panels
from bench.report.words import (
    batch_words,
    device_name,
    dtype_words,
    engine_words,
    facts_line,
    scope_words,
    score_word,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def schedules_figure(joined: pd.DataFrame, *, width: float = DOUBLE) -> Figure:
    """Draw the tokens that leave every block, and beside it the score against the speed-up, for every schedule.

    A row per device, at its largest batch size. Labels are r, bars 95 % intervals. `width`: inches; in one column of a
    paper the second panel is below the first. Raises ValueError where fewer than two kinds of schedules have both.
    """
    import matplotlib.pyplot as plt

    asked = joined[joined["speedup_unmerged"].notna() & joined["r"].notna()]
    asked = asked[(asked["method"] == "none") | asked["delta_score"].notna()]
    known = asked[asked["status"] != "disturbed"]
    groups = [panel for _, panel in panels(known) if panel.loc[panel["method"] != "none", "family"].nunique() > 1]
    shown: dict[tuple[object, ...], pd.DataFrame] = {}
    for panel in sorted(groups, key=lambda panel: panel["batch_size"].iloc[0]):
        shared = panel[PANEL].iloc[0].drop("batch_size")
        shown[tuple(shared)] = panel  # the largest batch size is the last
    if not shown:
        raise ValueError("fewer than two kinds of schedules have both speed and quality")
    rows = pd.concat(shown.values())
    styles = styles_of(rows)
    across = 2 if width == DOUBLE else 1
    size = (width, 0.9 + 2.4 * len(shown) * (2 // across))
    figure, axes = plt.subplots(len(shown) * (2 // across), across, figsize=size, squeeze=False)
    pairs = axes.reshape(-1, 2)
    for (shape, outcome), panel in zip(pairs, shown.values(), strict=True):
        _draw_shapes(shape, panel, styles)
        _draw_outcomes(outcome, panel, styles)
    legend(figure, styles, unmerged_keys(rows))
    told = "; ".join(_told(panel, several=len(shown) > 1) for panel in shown.values())
    batches = [panel["batch_size"].iloc[0] for panel in shown.values()]
    gone = about_left_out(asked[asked["batch_size"].isin(batches)])
    merged = ((panel["method"] != "none").sum() for panel in shown.values())
    footnote(figure, told, facts_line(rows), about_labels(merged, "none of them"), gone)
    fix_layout(figure)
    for (shape, outcome), panel in zip(pairs, shown.values(), strict=True):
        _label(shape, outcome, panel, styles)
    return figure


def _told(panel: pd.DataFrame, *, several: bool) -> str:
    """Return what a row of the figure is of; where there are several, with what tells them apart on one device."""
    row = panel.iloc[0]
    apart = f"{dtype_words(panel)}{engine_words(panel)}{scope_words(row)}" if several else scope_words(row)
    return f"{device_name(row)}{apart}, {batch_words(row['batch_size'])}"


def _tokens(row: pd.Series) -> np.ndarray:
    """Return the tokens before the first block and after every one, (blocks + 1,)."""
    return np.array([row["tokens_in"], *map(int, str(row["tokens_per_block"]).split())], dtype=float)


def _draw_shapes(axis: Axes, panel: pd.DataFrame, styles: Styles) -> None:
    for _, row in panel.iterrows():
        colour, marker = style_of(row, styles)
        tokens = _tokens(row)
        axis.plot(range(len(tokens)), tokens, color=colour, marker=marker, markersize=3, linewidth=1)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("Block")
    axis.set_ylabel("Tokens that leave it")


def _draw_outcomes(axis: Axes, panel: pd.DataFrame, styles: Styles) -> None:
    axis.axhline(0, color=GREY, linewidth=0.6, zorder=GUIDE)
    for _, row in panel.iterrows():
        colour, marker = style_of(row, styles)
        if row["method"] == "none":
            axis.plot(1, 0, marker, color=colour, markersize=8 if marker == "*" else 6.5, zorder=4)
            if is_starred(row):
                star(axis, 1, 0)
            continue
        x, y = row["speedup_unmerged"], row["delta_score"]
        axis.errorbar(
            *(x, y),
            xerr=error_bar(row, "speedup_unmerged"),
            yerr=error_bar(row, "delta_score"),
            color=colour,
            marker=marker,
            elinewidth=0.7,
            zorder=3,
        )
    axis.set_xlabel("Speed-up over unmerged")
    axis.set_ylabel(f"{score_word(panel)} minus unmerged")


def _label(shape: Axes, outcome: Axes, panel: pd.DataFrame, styles: Styles) -> None:
    """Write r where every shape is clear of the others, and beside every outcome."""
    merged = panel[panel["method"] != "none"]
    ends, points, paths, bars = [], [], [], []
    for _, row in merged.iterrows():
        text, colour, tokens = f"{row['r']:.0f}", style_of(row, styles)[0], _tokens(row)
        block = _clearest(tokens, [_tokens(other) for at, other in panel.iterrows() if at != row.name])
        ends.append(Label(x=block, y=tokens[block], text=text, colour=colour, above=True))
        paths.append(np.stack([np.arange(len(tokens)), tokens], axis=1))
        x, y = row["speedup_unmerged"], row["delta_score"]
        points.append(Label(x=x, y=y, text=text, colour=colour, above=True))
        for path in (
            [(x, row["delta_score_low"]), (x, row["delta_score_high"])],
            [(row["speedup_unmerged_low"], y), (row["speedup_unmerged_high"], y)],
        ):
            if np.isfinite(np.array(path, dtype=float)).all():
                bars.append(path)
    place_labels(shape, ends, lines=paths)
    place_labels(outcome, points, lines=[[(x, 0.0) for x in outcome.get_xlim()]], bars=bars)


def _clearest(tokens: np.ndarray, others: Sequence[np.ndarray]) -> int:
    """Return the block where a shape is furthest from all others, a middle one of equals; not the last of several."""
    blocks = np.arange(1, max(2, len(tokens) - 1))
    apart = np.min([np.abs(tokens - other)[blocks] for other in others], axis=0) if others else np.zeros(len(blocks))
    best = blocks[apart == apart.max()]
    return int(best[np.argmin(np.abs(best - len(tokens) // 2))])
