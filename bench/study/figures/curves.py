"""Training curves: the loss on the labels by step, for every seed of every arm."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.report.drawing.layout import balanced, fix_layout
from bench.report.drawing.side_by_side import side_by_side
from bench.report.drawing.style import COLOURS, DOUBLE, GREY
from bench.study.recipes import run_folder
from bench.study.study_file import Study
from fastast.training.run_folder.logging import read_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOG = "log.jsonl"
COLUMNS = 4
_FEWEST = 3
"""Fewest points that make a curve."""
_MOST = 32
"""Most points of a curve: steps are noisy, and a panel is narrow."""
_LENGTHS = 4
"""Ratio of the longest to the shortest training above which the axis of steps is logarithmic."""
_LETTERS = 120
"""Letters that fit across the figure in titles."""
_OTHERS = "#d4d4d4"


def training_curves(study: Study, trainings: Path) -> pd.DataFrame:
    """Return the losses in the published logs of a study: arm, label, seed, step and loss.

    The loss is that on the labels, even where a teacher has a share in the loss, and the mean over the steps since the
    previous row. Arms that were not trained have no rows.
    """
    rows = []
    for arm in study.arms:
        for seed in study.seeds_of(arm) if not arm.untrained else ():
            for event in log_events(run_folder(trainings, study, arm.name, seed)):
                if event["event"] == "train":
                    loss = event.get("label_loss", event["loss"])
                    rows.append((arm.name, arm.label, seed, event["step"], loss))
    return pd.DataFrame(rows, columns=["arm", "label", "seed", "step", "loss"])


def log_events(training: Path) -> list[dict[str, Any]]:
    """Return the events in the log of a training, in order; none if it has no log."""
    return read_log(training) if (training / LOG).is_file() else []


def curves_figure(curves: pd.DataFrame) -> Figure:
    """Draw a panel per arm: thin lines are seeds, the thick line is their mean, and grey ones are other arms' means.

    Raises ValueError if no log has enough steps for a curve.
    """
    counts = curves.groupby("arm", sort=False)["step"].nunique()
    shown = [arm for arm, count in counts.items() if count >= _FEWEST]
    if not shown:
        raise ValueError("no published log has enough steps for a curve")
    lengths = curves[curves["arm"].isin(shown)].groupby("arm")["step"].max()
    curves = _thinned(curves)
    parts = {arm: curves[curves["arm"] == arm] for arm in shown}
    means = {arm: part.groupby("step")["loss"].mean() for arm, part in parts.items()}
    columns = min(COLUMNS, len(shown))
    figure, axes = side_by_side(len(shown), columns, row=1.5, around=0.6)
    for axis, arm in zip(axes, shown, strict=True):
        for other, mean in means.items():
            if other != arm:
                axis.plot(mean.index, mean, color=_OTHERS, linewidth=0.6, zorder=1)
        for _, seed in parts[arm].groupby("seed"):
            axis.plot(seed["step"], seed["loss"], color=COLOURS[0], linewidth=0.5, alpha=0.5, zorder=2)
        axis.plot(means[arm].index, means[arm], color=COLOURS[0], linewidth=1.4, zorder=3)
        axis.set_title(balanced(parts[arm]["label"].iloc[0], _LETTERS // columns), loc="left", size=6.5)
        axis.set_xscale("log" if lengths.max() > _LENGTHS * lengths.min() else "linear")
        axis.xaxis.set_major_formatter("{x:g}")
    figure.supylabel("Loss on the labels", fontsize=8)
    figure.supxlabel("Step", fontsize=8)
    several = max(part["seed"].nunique() for part in parts.values()) > 1
    lines = "thick: mean over the seeds; thin: seeds" if several else "blue: the arm, of one seed"
    others = "; grey: the other arms" * (len(shown) > 1)
    said = [f"{lines}{others}. A point is the mean since the one before it"]
    top = 1.15 * max(mean.iloc[1:].max() for mean in means.values())
    if far := [arm for arm, mean in means.items() if mean.iloc[0] > top]:  # random weights would flatten the rest
        axes[0].set_ylim(top=top)
        said.append(f"cut at {top:.2f}: {_beginnings(curves, means, far)}")
    letters = int(DOUBLE / 0.052)  # at 7 pt
    figure.suptitle("\n".join(balanced(line, letters) for line in said), fontsize=7, color=GREY)
    fix_layout(figure)
    return figure


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """Return curves of at most `_MOST` points: each is the mean loss of neighbours, at the step of the last one.

    The seeds of an arm keep the same steps.
    """
    parts = []
    for _, arm in curves.groupby("arm", sort=False):
        places = arm["step"].rank(method="dense") - 1  # (n,)
        several = places // math.ceil((places.max() + 1) / _MOST)
        steps = arm["step"].groupby(several).transform("max")
        same = [arm["arm"], arm["label"], arm["seed"], steps]
        parts.append(arm["loss"].groupby(same, sort=False).mean().reset_index())
    return pd.concat(parts, ignore_index=True)


def _beginnings(curves: pd.DataFrame, means: dict[str, pd.Series], far: list[str]) -> str:
    """Return where the arms `far` begin, grouping those that begin at the same height."""
    labels = curves.groupby("arm")["label"].first()
    heights = dict.fromkeys(f"{means[arm].iloc[0]:.2f}" for arm in far)
    said = []
    for height in heights:
        arms = [str(labels[arm]) for arm in far if f"{means[arm].iloc[0]:.2f}" == height]
        whose = "all begin" if len(arms) == len(means) > 1 else f"{', '.join(arms)} begin{'s' * (len(arms) == 1)}"
        said.append(f"{whose} at {height}")
    return "; ".join(said)
