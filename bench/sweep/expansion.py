"""From a sweep to its cells: leave out what is excluded, resolve model and devices, and report what is impossible."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.measure.devices import resolve_local
from bench.sweep.cells import Cell, ModelRef
from bench.sweep.complaints import ConfigError
from bench.sweep.config import GridConfig, SweepConfig
from bench.sweep.data import DataRef
from bench.sweep.grid_checks import Points, check_engines, check_hop, check_reductions
from bench.sweep.lengths import clip_frames
from bench.sweep.reductions import Reductions
from bench.sweep.resolving import resolve_calibration, resolve_model, resolve_quality
from bench.sweep.strides import check_strides, other_stride

if TYPE_CHECKING:
    from fastast.reduction import TokenReduction


def expand(
    config: SweepConfig, shown: str = "sweep", resolve: Callable[[str], str] = resolve_local
) -> tuple[Cell, ...]:
    """Return the cells of a sweep, each once: by priority, then unmerged ones first, then quality before performance.

    `shown` is the name of the file in messages; `resolve` says what a device of the sweep means where the cells will
    run, by default on this machine. Raises ConfigError for what that place or the model cannot do.
    """
    model, geometry, checkpoint = resolve_model(config, shown)
    data = None
    if "quality" in config.kinds:
        model, data = resolve_quality(config, model, geometry, checkpoint, shown)
    calibration = resolve_calibration(config, shown) if "int8" in config.grid.dtype else None
    devices = _resolve_devices(config.grid, shown, resolve)
    points: Points = {kind: list(_points(config, kind)) for kind in config.kinds}
    reductions = Reductions(config)
    check_engines(config, points, devices, shown)
    check_strides(config.grid.stride, geometry, shown)
    check_reductions(config, points, reductions, geometry, clip_frames(data), shown)
    check_hop(config, geometry, shown)
    cells: dict[tuple[str, str], Cell] = {}
    ranks: dict[tuple[str, str], int] = {}
    models = {
        (stride, engine, length): replace(
            model, stride=other_stride(stride, geometry), engine=engine, own_length=length == "own"
        )
        for stride, engine, length in itertools.product(config.grid.stride, config.grid.engine, config.grid.length)
    }
    for kind in sorted(config.kinds, reverse=True):  # quality first: features are made once, at the start
        for point in points[kind]:
            at = models[point["stride"], point["engine"], point["length"]]
            cell = _cell(config, kind, at, reductions(point), point, devices, data, calibration)
            key = (cell.id, cell.device)
            cells.setdefault(key, cell)
            ranks[key] = min(_rank(config, point), ranks.get(key, len(config.priority)))
    if not cells:
        raise ConfigError([f"{shown}: exclude: every cell is excluded; nothing is left to run"])
    for key, cell in cells.items():
        unmerged = cell.compared_with()
        if unmerged is not None and (other := (unmerged.id, unmerged.device)) in ranks:
            ranks[other] = min(ranks[other], ranks[key])  # what a cell is compared with comes before it
    return tuple(sorted(cells.values(), key=lambda cell: (ranks[cell.id, cell.device], not cell.is_unmerged)))


def _rank(config: SweepConfig, point: Mapping[str, Any]) -> int:
    """Return the index of the first `[[priority]]` table that matches a point; the number of tables where none does."""
    matching = (i for i, rule in enumerate(config.priority) if _matches(rule, point))
    return next(matching, len(config.priority))


def _points(config: SweepConfig, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the points of the grid that no `[[exclude]]` matches."""
    axes = config.grid.axes
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True)) | {"kind": kind}
        if not any(_matches(rule, point) for rule in config.exclude):
            yield point


def _matches(rule: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
    return all(point[key] in (value if isinstance(value, list) else [value]) for key, value in rule.items())


def _cell(
    config: SweepConfig,
    kind: Any,
    model: ModelRef,
    reduction: TokenReduction | None,
    point: Mapping[str, Any],
    devices: Mapping[str, str],
    data: DataRef | None,
    calibration: DataRef | None,
) -> Cell:
    attention = point["attention"]
    if reduction is None and attention != "math":
        attention = "auto"  # kernels differ in how they weigh sizes; without sizes they are the same
    return Cell(
        kind=kind,
        model=model,
        reduction=reduction,
        attention=attention,
        dtype=point["dtype"],
        device=devices[point["device"]],
        seed=config.seed,
        measure=config.measure,
        batch_size=point["batch_size"] if kind == "performance" else None,
        data=data if kind == "quality" else None,
        calibration=calibration if point["dtype"] == "int8" else None,
    )


def _resolve_devices(grid: GridConfig, shown: str, resolve: Callable[[str], str]) -> dict[str, str]:
    devices = {}
    for i, device in enumerate(grid.device):
        try:
            devices[device] = resolve(device)
        except ValueError as error:
            raise ConfigError([f"{shown}: grid.device.{i}: {error}"]) from None
    return devices
