"""Find what varies in a sweep of alternatives, and sort the alternatives into series.

A *series* is a reduction without its `r`. If every series has one point, at one schedule, the sweep is an ablation of
one axis; otherwise series are fronts. Larger strides alone are a series too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.ablation.evidence import Configuration
from bench.records.export import STRIDE, split_schedule
from bench.report.words import family_words, method_label
from fastast.reduction import TokenReduction, method_names

_ALL = tuple(one.name for one in dataclasses.fields(TokenReduction) if one.name not in ("schedule", "options"))


@dataclass(frozen=True, kw_only=True)
class Series:
    """Configurations that differ in nothing but `r`."""

    name: str
    """Values of what varies between series, in words."""
    chosen: bool
    """Whether all of these are FastAST's defaults."""
    points: tuple[Configuration, ...]
    """Configurations by increasing r, where schedules have one."""
    rs: tuple[int | None, ...]
    """r of every point, None for a schedule without r; for strides alone, the stride."""


@dataclass(frozen=True, kw_only=True)
class Alternatives:
    """The configurations of a sweep, sorted into series."""

    axes: tuple[str, ...]
    """What varies other than r: `method`, `schedule`, or options by name."""
    series: tuple[Series, ...]
    """Series in the order in which methods are registered; for each method, the defaults first."""
    unmerged: Configuration | None
    """The unmerged model, None if the sweep does not have its quality."""

    @property
    def is_one_axis(self) -> bool:
        """Whether each series has one point, all at the same schedule."""
        schedules = {str(one.points[0].reduction and one.points[0].reduction["schedule"]) for one in self.series}
        return all(len(one.points) == 1 for one in self.series) and len(schedules) == 1

    @property
    def reference(self) -> Series:
        """The series with which the others are compared: the one with the defaults, else the first."""
        return next((one for one in self.series if one.chosen), self.series[0])

    def alone_at(self, stride: int | None) -> tuple[Configuration, ...]:
        """Return the model at another stride with nothing merged: one configuration, or none if the sweep lacks it."""
        points = (point for one in self.series for point in one.points)
        return tuple(point for point in points if point.reduction is None and point.stride == stride)


def sort_out(configurations: Sequence[Configuration]) -> Alternatives:
    """Sort configurations into series. Raises ValueError if nothing is merged, or nothing varies."""
    merged = [(one, _values(one)) for one in configurations if not one.is_unmerged]
    if not merged:
        raise ValueError("nothing in this sweep is merged")
    keys = list(dict.fromkeys(key for _, values in merged for key in values if key != "r"))
    # Methods without an option do not count when it varies: their names distinguish them.
    axes = tuple(key for key in keys if len({repr(values[key]) for _, values in merged if key in values}) > 1)
    groups: dict[tuple[str, ...], list[tuple[Configuration, dict[str, Any]]]] = {}
    for one, values in merged:
        groups.setdefault(tuple(repr(values.get(axis)) for axis in axes), []).append((one, values))
    if len(groups) < 2:
        raise ValueError("only one alternative; there must be several to compare")
    series = sorted(groups.values(), key=lambda group: _order(group[0][1]))
    return Alternatives(
        axes=axes,
        series=tuple(_series(group, axes) for group in series),
        unmerged=next((one for one in configurations if one.is_unmerged and one.quality is not None), None),
    )


def _order(values: dict[str, Any]) -> tuple[Any, ...]:
    """Return a sort key: methods as they are registered, strides alone after them, and a method's defaults first."""
    rest = [axis for axis in values if axis not in ("method", "r")]
    changed = [axis for axis in rest if values[axis] != _default(axis, values)]
    names = (*method_names(), STRIDE)
    return names.index(values["method"]), len(changed), *(str(values[axis]) for axis in changed)


def _values(one: Configuration) -> dict[str, Any]:
    """Return all values of a reduction, defaults included, with the schedule as family and r."""
    if one.reduction is None:
        return {"method": STRIDE, "r": one.stride}
    whole = TokenReduction.from_dict(one.reduction)
    family, r = split_schedule(str(whole.schedule))
    values = {name: getattr(whole, name) for name in _ALL} | dataclasses.asdict(whole.options)
    return {"method": whole.method, "schedule": family, "r": r, STRIDE: one.stride} | values


def _series(group: list[tuple[Configuration, dict[str, Any]]], axes: tuple[str, ...]) -> Series:
    group = sorted(group, key=lambda pair: pair[1]["r"] or 0)
    values = group[0][1]
    return Series(
        name=", ".join(_word(axis, values[axis]) for axis in axes if axis in values and _tells(axis, axes, values)),
        chosen=all(values[axis] == _default(axis, values) for axis in axes if axis in values),
        points=tuple(one for one, _ in group),
        rs=tuple(values["r"] for _, values in group),
    )


def _tells(axis: str, axes: tuple[str, ...], values: dict[str, Any]) -> bool:
    """Return whether an axis is part of a series' name: beside a method, options at their defaults are not."""
    return axis in ("method", "schedule") or "method" not in axes or values[axis] != _default(axis, values)


def _word(axis: str, value: Any) -> str:
    if axis == "method":
        return method_label(value)
    if axis == "schedule":
        return family_words(value)
    if axis == "seed":
        return f"seed {value}"
    if axis == STRIDE:
        return "own stride" if value is None else f"stride {value}"
    if axis == "threshold":
        return "no threshold" if value is None else f"threshold {value:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "all" if value is None else "size-weighted" if (axis, value) == ("combine", "method") else str(value)


def _default(axis: str, values: dict[str, Any]) -> Any:
    """Return the default of an axis: ToMe, constant r, no other stride, or the default of the field or option."""
    if axis == "schedule":
        return "constant"
    if axis == STRIDE:
        return None
    usual = TokenReduction(schedule="constant:1", method="tome" if axis == "method" else values["method"])  # type: ignore[arg-type]
    return getattr(usual, axis) if axis in _ALL else getattr(usual.options, axis)


def schedule_phrase(schedule: str) -> str:
    """Return a schedule in words, with its r where it has one: `decreasing r = 48`."""
    family, r = split_schedule(schedule)
    words = family_words(family)
    return words if r is None else f"{words}{'' if words.endswith(' r') else ', r'} = {r}"
