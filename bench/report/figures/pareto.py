"""Quality against throughput, with its Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.records.export import STRIDE
from bench.report.drawing.labels import Label, about_labels, place_labels
from bench.report.drawing.layout import device_line, error_bar, fix_layout, footnote, grid, legend
from bench.report.drawing.series import Styles, is_starred, star, style_of, styles_of, unmerged_keys
from bench.report.drawing.style import DOUBLE, GREY, faded
from bench.report.figures.apart import PointApart, draw_apart
from bench.report.figures.elsewhere import draw_elsewhere, reach_for, reserve_room
from bench.report.published.figures import Published, published
from bench.report.words import facts_line, interval, point_label, score_word, series_name
from fastast.names import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_STANDINGS = {"front": ["front"], "dominated": ["dominated", "clearly dominated"]}
"""Entries of the legend, and the standings that each covers."""


def pareto_figure(joined: pd.DataFrame, *, width: float = DOUBLE) -> Figure:
    """Draw mAP or accuracy against throughput: one row of panels per device, one column per batch size.

    Points on the front are filled and joined by steps; dominated ones are hollow and faded. Disturbed ones are crosses
    and do not stretch an axis: one beyond it is drawn at the edge, with its values. Bars are 95 % intervals; those of
    the score are the intervals in which a panel's models are compared or, where engines share a panel, of the
    difference to the unmerged model of the same engine. Scores that others published for the data set are drawn to the
    right of the frame if they are near the measured ones. `width`: inches; a figure as wide as one column of a paper
    has one column of panels. Raises ValueError where nothing has both speed and quality.
    """
    whole = joined.dropna(subset=["throughput", "score"]).copy()
    apart = ["disturbed"] if (whole["status"] == "disturbed").any() else []
    if whole.empty:
        raise ValueError("no configuration has both a speed and a quality record; run the sweep with both kinds")
    whole = with_drawn(whole)
    styles = styles_of(whole)
    figure, placed, left = grid(whole, heights=[2.5], width=width)
    for (axis,), panel in placed:
        sound = panel[panel["status"] != "disturbed"]
        _draw_points(axis, sound, styles)
        _draw_front(axis, sound)
        axis.set_xlabel("Throughput (clips/s)")
        axis.margins(x=0.09, y=0.09)
    elsewhere = _elsewhere(whole)
    beside = {axis: near for axis in _last_of_rows(placed) if elsewhere and (near := reach_for(axis, elsewhere))}
    for axis, near in beside.items():
        reserve_room(axis, near)
    for (axis,), panel in placed:  # only now do axes that share a scale have all their undisturbed points
        draw_apart(axis, _apart(panel, styles))
    for axis in left:
        axis.set_ylabel("mAP (macro)" if score_word(whole) == "mAP" else f"Top-1 {score_word(whole)}")
    told = [key for key, words in _STANDINGS.items() if whole["standing"].isin(words).any()]
    legend(figure, styles, [*unmerged_keys(whole), *told, *apart, *(["elsewhere"] if beside else [])])
    named = about_labels((len(_named(panel)) for _, panel in placed), "those on the front, if they are fewer")
    about = (_about_bars(whole), _about_elsewhere(elsewhere, beside), named)
    footnote(figure, device_line(whole), facts_line(whole), *about)
    fix_layout(figure)  # labels need to know where things are
    for axis, near in beside.items():
        draw_elsewhere(axis, near)
    for (axis,), panel in placed:
        _label_points(axis, panel, styles)
    return figure


def with_drawn(whole: pd.DataFrame) -> pd.DataFrame:
    """Add the ends of the score's bars, `drawn_low` and `drawn_high`, NaN without a bar.

    Engines that share a panel have an unmerged model each, and are drawn with the interval of the difference to it:
    much of the score's own interval comes from the clips, which are the same for all, and would hide how they differ.
    """
    engines = (whole["setup"] != "") & ~whole["paired"].astype(bool)
    for end in ("low", "high"):
        own = whole["score"] + whole[f"delta_score_{end}"] - whole["delta_score"]
        whole[f"drawn_{end}"] = own.where(engines, whole[f"compared_{end}"])
    return whole


def _draw_points(axis: Axes, sound: pd.DataFrame, styles: Styles) -> None:
    for _, row in sound.iterrows():
        colour, marker = style_of(row, styles)
        on_front = row["standing"] == "front"
        axis.errorbar(
            row["throughput"],
            row["score"],
            xerr=error_bar(row, "throughput"),
            yerr=error_bar(row, "score", ends="drawn"),
            fmt="none",
            ecolor=colour,
            elinewidth=0.7,
            alpha=0.5 if on_front else 0.25,
            zorder=2,
        )
        axis.plot(
            *(row["throughput"], row["score"], marker),
            color=colour,
            markeredgecolor=colour if on_front else faded(colour),
            markerfacecolor=colour if on_front else "none",  # hollow, so that it hides nothing
            markersize=8 if marker == "*" else 6.5 if is_starred(row) else 4.5,
            zorder=3 if on_front else 4,
        )
        if is_starred(row):
            star(axis, row["throughput"], row["score"])


def _apart(panel: pd.DataFrame, styles: Styles) -> list[PointApart]:
    disturbed = panel[panel["status"] == "disturbed"]
    word = score_word(disturbed)
    return [
        PointApart(
            x=row["throughput"],
            y=row["score"],
            colour=style_of(row, styles)[0],
            words=(f"{row['throughput']:.3g} clips/s", f"{word} {row['score']:.3f}"),
        )
        for _, row in disturbed.iterrows()
    ]


def _draw_front(axis: Axes, panel: pd.DataFrame) -> None:
    front = panel[panel["standing"] == "front"].sort_values("throughput")
    axis.step(front["throughput"], front["score"], where="pre", color=GREY, linewidth=0.9, zorder=1)


def _label_points(axis: Axes, panel: pd.DataFrame, styles: Styles) -> None:
    """Write r beside every point, alternately above and below from one schedule to the next, where there is room."""
    known = _named(panel)
    inside = known["throughput"].between(*axis.get_xlim()) & known["score"].between(*axis.get_ylim())
    known = known[inside]  # a point at the edge has its values beside it
    labels = []
    for _, row in known.iterrows():
        colour = style_of(row, styles)[0]
        above = list(styles).index(series_name(row)) % 2 == 0 if series_name(row) in styles else True
        place = {"x": row["throughput"], "y": row["score"], "above": above}
        labels.append(Label(**place, text=point_label(row), colour=colour, kept=row["standing"] == "front"))
    front = panel[panel["standing"] == "front"].sort_values("throughput")
    x, y = np.repeat(front["throughput"].to_numpy(), 2)[:-1], np.repeat(front["score"].to_numpy(), 2)[1:]
    bars = [
        bar
        for row in panel.itertuples()
        for bar in (
            [(row.throughput_low, row.score), (row.throughput_high, row.score)],
            [(row.throughput, row.drawn_low), (row.throughput, row.drawn_high)],
        )
        if row.status != "disturbed" and np.isfinite(bar).all()
    ]
    place_labels(axis, labels, lines=[np.stack([x, y], axis=1)], bars=bars)


def _elsewhere(whole: pd.DataFrame) -> tuple[Published, ...]:
    """Return what others published for the rows' data set, in the same measure; nothing for several sweeps."""
    sweeps, word = whole["sweep"].unique(), score_word(whole)
    return tuple(one for one in published(sweeps[0]) if one.score_name == word) if len(sweeps) == 1 else ()


def _last_of_rows(placed: Sequence[tuple[tuple[Axes, ...], pd.DataFrame]]) -> list[Axes]:
    """Return the rightmost axis of every row of panels with an undisturbed point."""
    last: dict[int, Axes] = {}
    sound = set()
    for (axis,), panel in placed:
        spec = axis.get_subplotspec()
        assert spec is not None
        row = spec.rowspan.start
        if (panel["status"] != "disturbed").any():
            sound.add(row)
        if row not in last or spec.colspan.start > last[row].get_subplotspec().colspan.start:  # type: ignore[union-attr]
            last[row] = axis
    return [axis for row, axis in last.items() if row in sound]


def _named(panel: pd.DataFrame) -> pd.DataFrame:
    """Return the points that can have a label: those with an r, or a stride."""
    return panel[panel["r"].notna() | (panel["method"] == STRIDE)]


def _about_elsewhere(figures: Sequence[Published], beside: Mapping[Axes, Sequence[Published]]) -> str:
    """Return the note on published figures, with how many are not drawn."""
    if not figures:
        return ""
    drawn = {one.model for near in beside.values() for one in near}
    away = len(figures) - len(drawn)
    said = ["published elsewhere: as their sources state it, on other copies of the data; no throughput of ours"]
    said += [f"{away} further off, in published.md"] if away else []
    return (
        "; ".join(said) if drawn else f"published elsewhere, not drawn here: {counted(away, 'figure')}, in published.md"
    )


def _about_bars(whole: pd.DataFrame) -> str:
    """Return what the score's bars show, and the unmerged model's own interval, which they do not."""
    word = score_word(whole)
    if (whole["status"] == "disturbed").all():
        return ""  # crosses have no bars
    if (whole["setup"] != "").any() and not whole["paired"].any():
        return f"bars of {word}: paired difference to the unmerged model of the same engine, on the same clips"
    if not whole["paired"].all():
        paired = "paired where a panel has an unmerged model, else " if whole["paired"].any() else "not paired, "
        return f"bars of {word}: {paired}each model's own interval over clips, wider than what tells models apart"
    own = whole[whole["method"] == "none"].drop_duplicates(["score", "score_low", "score_high"])
    told = " and ".join(interval(row, "score", "{:.3f}") for _, row in own.iterrows())
    about = f"bars of {word}: paired difference to the unmerged model on the same clips"
    return f"{about}; its own {word} is {told}" if told else about
