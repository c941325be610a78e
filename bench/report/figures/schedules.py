"""The shapes of schedules beside the speed and quality that they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.drawing.labels import Label, about_labels, place_labels
from bench.report.drawing.layout import (
    about_left_out,
    device_line,
    error_bar,
    fix_layout,
    footnote,
    legend,
    panel_title,
)
from bench.report.drawing.series import Styles, is_starred, star, style_of, styles_of, unmerged_keys
from bench.report.drawing.style import DOUBLE, GREY, GUIDE
from bench.report.panels import PANEL, panels
from bench.report.words import (
    batch_words,
    facts_line,
    score_word,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_APART = 4
"""Most room that counts on one side of a shape, as a multiple of the room on the other side."""


def schedules_figure(joined: pd.DataFrame, *, width: float = DOUBLE) -> Figure:
    """Draw for every schedule the tokens that leave each block and, beside them, the score against the speed-up.

    Every device has a row, at its largest batch size, with a title where there are several. Labels are r, bars are 95 %
    intervals. `width`: inches; in one column of a paper the second panel is below the first. Raises ValueError where
    fewer than two kinds of schedules have both speed and quality.
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
        if len(shown) > 1:
            letters = int((width - 0.65) / across / 0.0085 / 8)
            shape.set_title(panel_title(panel, letters, alone=False), loc="left", size=8)
        _draw_shapes(shape, panel, styles)
        _draw_outcomes(outcome, panel, styles)
    legend(figure, styles, unmerged_keys(rows))
    told = _told(next(iter(shown.values()))) if len(shown) == 1 else ""
    batches = [panel["batch_size"].iloc[0] for panel in shown.values()]
    gone = about_left_out(asked[asked["batch_size"].isin(batches)])
    merged = ((panel["method"] != "none").sum() for panel in shown.values())
    footnote(figure, told, facts_line(rows), about_labels(merged, "none of them"), gone)
    fix_layout(figure)
    for (shape, outcome), panel in zip(pairs, shown.values(), strict=True):
        _label(shape, outcome, panel, styles)
    return figure


def _told(panel: pd.DataFrame) -> str:
    """Return the device and batch size of a figure of one device; those of several devices are in titles."""
    return f"{device_line(panel)}, {batch_words(panel['batch_size'].iloc[0])}"


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
    """Write r where every shape is clear of the others, and beside every point of speed and quality."""
    merged = panel[panel["method"] != "none"]
    ends, points, bars = [], [], []
    paths: list[np.ndarray] = []
    for _, row in merged.iterrows():
        text, colour, tokens = f"{row['r']:.0f}", style_of(row, styles)[0], _tokens(row)
        block, above = _clearest(tokens, [_tokens(other) for at, other in panel.iterrows() if at != row.name])
        ends.append(Label(x=block, y=tokens[block], text=text, colour=colour, above=above, line=len(paths)))
        paths.append(np.stack([np.arange(len(tokens)), tokens], axis=1))
        x, y = row["speedup_unmerged"], row["delta_score"]
        points.append(Label(x=x, y=y, text=text, colour=colour, above=True))
        for path in (
            [(x, row["delta_score_low"]), (x, row["delta_score_high"])],
            [(row["speedup_unmerged_low"], y), (row["speedup_unmerged_high"], y)],
        ):
            if np.isfinite(np.array(path, dtype=float)).all():
                bars.append(path)
    unmerged = [_tokens(row) for _, row in panel[panel["method"] == "none"].iterrows()]
    paths += [np.stack([np.arange(len(tokens)), tokens], axis=1) for tokens in unmerged]
    place_labels(shape, ends, lines=paths)
    place_labels(outcome, points, lines=[[(x, 0.0) for x in outcome.get_xlim()]], bars=bars)


def _clearest(tokens: np.ndarray, others: Sequence[np.ndarray]) -> tuple[int, bool]:
    """Return the block where a label has most room on one side of a shape, and whether that side is above.

    The shape must be clear of all others there. Of equally good blocks the one nearest to the middle is chosen, and
    never the last of several.
    """
    blocks = np.arange(1, max(2, len(tokens) - 1))
    gaps = np.array([(other - tokens)[blocks] for other in others]).reshape(-1, len(blocks))  # (others, blocks)
    above, below = (np.where(gap >= 0, gap, np.inf).min(axis=0, initial=np.inf) for gap in (gaps, -gaps))
    room = np.minimum(np.maximum(above, below), _APART * np.minimum(above, below))
    best = blocks[room == room.max()]
    chosen = int(best[np.argmin(np.abs(best - len(tokens) // 2))])
    return chosen, bool(above[chosen - 1] >= below[chosen - 1])
