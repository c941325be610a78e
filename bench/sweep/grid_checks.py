"""Checks that hold on every machine: engines asked for what they cannot do, schedules with too few tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.sweep.axes import schedule_text, takes_r
from bench.sweep.complaints import ConfigError, as_toml
from bench.sweep.config import SweepConfig
from bench.sweep.engines import engine_problem
from bench.sweep.lengths import geometry_at_length, length_problem
from bench.sweep.reductions import Reductions
from bench.sweep.strides import at_stride, other_stride
from fastast.geometry import Geometry
from fastast.schedule import parse_schedule

if TYPE_CHECKING:
    from fastast.reduction import TokenReduction

Points = Mapping[str, Sequence[Mapping[str, Any]]]
"""The points of the grid that are not excluded, by kind."""


def check_engines(config: SweepConfig, points: Points, devices: Mapping[str, str], shown: str) -> None:
    """Raise ConfigError, with every reason once, where an engine cannot do what a point asks of it."""
    grid = config.grid
    problems: dict[str, None] = {}  # in order, each once
    asked = ("engine", "device", "dtype", "attention")
    for point in _each_once(points, lambda point: tuple(point[axis] for axis in asked)):
        problem = engine_problem(
            point["engine"],
            device=devices[point["device"]],
            dtype=point["dtype"],
            attention=point["attention"],
            scope=config.measure.scope,
        )
        if problem is None:
            continue
        where, why = problem
        axis = where.removeprefix("grid.")
        if axis in grid.axes:
            where = f"{where}.{grid.axes[axis].index(point[axis])}"
            if len(grid.engine) > 1:
                why += f"; or leave it out: [[exclude]] engine = '{point['engine']}', {axis} = {as_toml(point[axis])}"
        problems[f"{shown}: {where}: {why}"] = None
    if problems:
        raise ConfigError(list(problems))


def check_reductions(
    config: SweepConfig, points: Points, reductions: Reductions, own: Geometry, frames: int | None, shown: str
) -> None:
    """Raise ConfigError, with every reason once, for lengths, thresholds and schedules that the model cannot run.

    `frames`: of every clip, if all have the same number; else a clip that is too short for a schedule fails its cell.
    """
    grid = config.grid
    problems: dict[tuple[object, ...], str] = {}
    asked = ("kind", "stride", "engine", "length")
    for point in _each_once(points, lambda at: (*(at[axis] for axis in asked), reductions.key(at))):
        strided = at_stride(own, other_stride(point["stride"], own))
        if (reason := length_problem(point, strided, frames)) is not None:
            index = grid.length.index("own")
            problems.setdefault(("length", reason), f"{shown}: grid.length.{index}: {reason}")
            continue
        geometry = geometry_at_length(strided, point["length"], frames)
        try:
            reduction = reductions(point)
        except ValueError as error:  # an option's value that its method refuses
            problems.setdefault((point["method"], str(error)), f"{shown}: grid: {error}")
            continue
        if reduction is None:
            continue
        if (reason := _unmeasurable(reduction, point)) is not None:
            index = grid.threshold.index(point["threshold"])
            problems.setdefault(("threshold", reason), f"{shown}: grid.threshold.{index}: {reason}")
            continue
        reason = _impossible(reduction, geometry)
        if reason is None:
            continue
        if takes_r(point["schedule"]):
            where = f"grid.r.{grid.r.index(point['r'])}"
            nothing = replace(reduction, schedule=parse_schedule(schedule_text(point["schedule"], 0)))
            if _impossible(nothing, geometry) is None:  # else r is not the reason
                most = largest_r(reduction, point["schedule"], geometry)
                reason = f"{reason}. The largest r of {reduction.method} {point['schedule']} here is {most}"
        else:
            where = f"grid.schedule.{grid.schedule.index(point['schedule'])}"
        if geometry != strided:
            reason = f"at the clips' own length: {reason}"
        if strided != own:
            reason = f"at stride {geometry.fstride}: {reason}"
        key = (point["method"], point["schedule"], point["r"], geometry)
        problems.setdefault(key, f"{shown}: {where}: {reason}")
    if problems:
        raise ConfigError(list(problems.values()))


def check_hop(config: SweepConfig, geometry: Geometry, shown: str) -> None:
    """Raise ConfigError where a model of this input length would not hear all of a stream."""
    if config.measure.scope != "stream":
        return
    from fastast.engine.waveforms import input_samples
    from fastast.inference.windows import hop_samples

    try:
        hop_samples(config.measure.hop_seconds, input_samples(geometry.num_frames))
    except ValueError as error:
        raise ConfigError([f"{shown}: measure.hop_seconds: {error}"]) from None


def largest_r(reduction: TokenReduction, schedule: str, geometry: Geometry) -> int:
    """Return the largest `r` that a schedule of the grid can have with a model, with all else as in `reduction`."""
    r = 0
    while _impossible(replace(reduction, schedule=parse_schedule(schedule_text(schedule, r + 1))), geometry) is None:
        r += 1
    return r


def _each_once(points: Points, key: Callable[[Mapping[str, Any]], Hashable]) -> Iterator[Mapping[str, Any]]:
    """Yield the first point of every key."""
    seen = set[Hashable]()
    for point in itertools.chain.from_iterable(points.values()):
        if (found := key(point)) not in seen:
            seen.add(found)
            yield point


def _unmeasurable(reduction: TokenReduction, point: Mapping[str, Any]) -> str | None:
    """Return why a threshold cannot be measured as a point asks; None where it can."""
    if reduction.threshold is None:
        return None
    if point["engine"] != "plain":
        return f"engine '{point['engine']}' must know the number of tokens beforehand; write engine = ['plain']"
    if point["kind"] == "performance":
        return (
            "each clip decides on its number of tokens, and speed is timed on noise, whose tokens are less similar "
            "than those of real sounds; write kinds = ['quality'], or [[exclude]] kind = 'performance' and the "
            "thresholds"
        )
    return None


def _impossible(reduction: TokenReduction, geometry: Geometry) -> str | None:
    """Return why a model cannot do a reduction; None where it can."""
    from fastast.reduction.spec import ExcessError

    try:
        reduction.tokens_per_block(geometry)
    except ExcessError as error:
        return (
            f"{error.problem} Remove fewer tokens, remove them earlier (a decreasing schedule), or cap as ToMe does: "
            'grid.excess = ["cap"]'
        )
    except ValueError as error:  # ReductionError or ScheduleError
        return str(error)
    return None
