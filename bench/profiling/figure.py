"""Figure of where a forward pass spends its time, by stage and by kernel, with the arms side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.profiling.tables import Profile
from bench.report.drawing.layout import fix_layout, footnote
from bench.report.drawing.style import COLOURS, DOUBLE, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST = 12
"""Number of kernels with a bar of their own; the rest share one bar, and the tables list all."""
_LETTERS = 34
_HATCHES = ("", "////", "....")
"""Hatches, which keep arms distinguishable in greyscale."""


def shares_figure(profiles: Sequence[Profile]) -> Figure:
    """Draw the milliseconds of a forward pass by stage and by kernel (on a CPU, by operator), one bar per arm.

    On a GPU, kernels are those of the captured graph if there is one. Numbers beside bars are shares of the arm's
    forward. Raises ValueError where times are meaningless, as in Triton's interpreter.
    """
    import matplotlib.pyplot as plt

    device = profiles[0].summary[-1].device  # on a GPU its kernels are what matters
    stages = {one.arm: _stages(one, device) for one in profiles}
    kernels = {one.arm: _kernels(one, device) for one in profiles}
    if any(row.share is None for one in profiles for row in one.stages) or not any(stages.values()):
        raise ValueError("profile: times of Triton's interpreter, or none at all: there are no shares to draw")
    parts = [_common(stages, None), _common(kernels, LONGEST)]
    bars = max(len(part) for part in parts)
    figure, axes = plt.subplots(1, 2, figsize=(DOUBLE, 0.9 + 0.055 * bars * (1 + 2 * len(profiles))))
    kind = "Kernel" if device == "cuda" else "Operator"
    for axis, found, names, title in zip(axes, (stages, kernels), parts, ("Stage", kind), strict=True):
        _draw(axis, found, names)
        axis.set_title(f"By {title.lower()}", loc="left", size=8)
        axis.set_xlabel("Time per forward (ms)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    row = profiles[0].summary[-1]
    what = "sum of the kernels" if device == "cuda" else "time on the host, without the parts inside"
    footnote(
        figure,
        f"{device}, batch size {row.batch_size}, median of {row.forwards} forwards; {what}. Under the profiler, which "
        f"makes a forward {row.profiler_overhead:.2f} times as long: for shares, not for speeds.",
    )
    fix_layout(figure)
    return figure


def _stages(profile: Profile, device: str) -> dict[str, float]:
    return {row.stage: row.ms for row in profile.stages if row.device == device}


def _kernels(profile: Profile, device: str) -> dict[str, float]:
    if profile.kernels:
        ran = profile.kernels[-1].ran
        return {row.name: row.ms for row in profile.kernels if row.ran == ran}
    return {row.name: row.self_ms for row in profile.operators if row.device == device}


def _common(found: Mapping[str, Mapping[str, float]], most: int | None) -> list[str]:
    """Return the names in all arms, in order; with `most`, only the slowest so many and a name for the rest."""
    names = list(dict.fromkeys(name for part in found.values() for name in part))
    if most is None or len(names) <= most:
        return names
    longest = sorted(names, key=lambda name: -max(part.get(name, 0.0) for part in found.values()))
    return [*longest[:most], f"{len(names) - most} others"]


def _draw(axis: Axes, found: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> None:
    places = np.arange(len(names))[::-1]
    height = 0.8 / len(found)
    for number, (arm, part) in enumerate(found.items()):
        rest = sum(part.values()) - sum(part.get(name, 0.0) for name in names)
        values = [part.get(name, rest if name.endswith(" others") else 0.0) for name in names]
        whole = sum(part.values())
        at = places + 0.4 - height * (number + 0.5)
        colour, hatch = COLOURS[number], _HATCHES[number % len(_HATCHES)]
        axis.barh(at, values, height=height, color=colour, hatch=hatch, edgecolor="white", linewidth=0.3, label=arm)
        for place, value in zip(at, values, strict=True):
            if value > 0:
                text = axis.annotate(
                    f"{value / whole:.0%}",
                    (value, place),
                    xytext=(2, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=5.5,
                    color=GREY,
                )
                text.set_in_layout(False)
    axis.set_yticks(places, [name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…" for name in names])
    axis.tick_params(axis="y", length=0, labelsize=6.5)
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.12)
    axis.set_ylim(-0.6, len(names) - 0.4)
