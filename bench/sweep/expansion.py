"""From a sweep to its cells: the grid without what is excluded, the model and devices resolved, the impossible told."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.measure.devices import resolve_local
from bench.sweep.cells import Cell, ModelRef, ReductionRef
from bench.sweep.complaints import ConfigError
from bench.sweep.config import GridConfig, SweepConfig
from fastast.geometry import Geometry
from fastast.schedule import parse_schedule


def expand(
    config: SweepConfig, shown: str = "sweep", resolve: Callable[[str], str] = resolve_local
) -> tuple[Cell, ...]:
    """Return the cells of a sweep: unmerged ones first, quality before performance of the same kind, no duplicates.

    `shown` is the name of the file in messages; `resolve` says what a device of the sweep means where the cells will
    run, which is here if not given. Raises ConfigError for what that place or the model cannot do.
    """
    model, geometry = _resolve_model(config, shown)
    devices = _resolve_devices(config.grid, shown, resolve)
    _check_data(config, model, geometry, shown)
    _check_reductions(config, geometry, shown)
    cells: dict[tuple[str, str], Cell] = {}
    for kind in sorted(config.kinds, reverse=True):  # quality first: features are made once, at the start
        for point in _points(config, kind):
            cell = _cell(config, kind, model, point, devices)
            cells.setdefault((cell.id, cell.device), cell)
    if not cells:
        raise ConfigError([f"{shown}: exclude: every cell is excluded; nothing is left to run"])
    return tuple(sorted(cells.values(), key=lambda cell: cell.reduction is not None))


def _points(config: SweepConfig, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the points of the grid that no `[[exclude]]` matches."""
    axes = {name: getattr(config.grid, name) for name in GridConfig.model_fields}
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True)) | {"kind": kind}
        if not any(_matches(rule, point) for rule in config.exclude):
            yield point


def _matches(rule: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
    return all(point[key] in (value if isinstance(value, list) else [value]) for key, value in rule.items())


def _cell(
    config: SweepConfig, kind: Any, model: ModelRef, point: Mapping[str, Any], devices: Mapping[str, str]
) -> Cell:
    schedule = schedule_text(point["schedule"], point["r"])
    # Of a schedule with an r, r = 0 is the unmerged model, whatever the other axes of the reduction say.
    merged = not (_takes_r(point["schedule"]) and point["r"] == 0)
    names = ("method", "metric", "proportional", "order", "excess")
    reduction = ReductionRef(schedule=schedule, **{name: point[name] for name in names}) if merged else None
    attention = point["attention"]
    if reduction is None and attention != "math":
        attention = "auto"  # kernels differ in how they weigh sizes; without sizes they are one
    cell = Cell(
        kind=kind,
        model=model,
        reduction=reduction,
        attention=attention,
        dtype=point["dtype"],
        device=devices[point["device"]],
        seed=config.seed,
        measure=config.measure,
    )
    if kind == "quality":
        return replace(cell, data=config.data)
    return replace(cell, batch_size=point["batch_size"])


def schedule_text(schedule: str, r: int) -> str:
    """Return a schedule of the grid with its `r`: `linear:-0.5`, 40 -> `linear:40:-0.5`."""
    if not _takes_r(schedule):
        return schedule
    name, _, inflection = schedule.partition(":")
    return f"{name}:{r}:{inflection}" if inflection else f"{name}:{r}"


def _takes_r(schedule: str) -> bool:
    return schedule.partition(":")[0] not in ("keep", "speedup", "list")


def _resolve_model(config: SweepConfig, shown: str) -> tuple[ModelRef, Geometry]:
    from fastast.describe import model_geometry
    from fastast.zoo import ARCHITECTURES, EMBEDDED, model_names

    name, frames, engine = config.model.name, config.model.frames, config.model.engine
    path = EMBEDDED.get(name, Path(name))
    if name not in ARCHITECTURES and not path.exists():
        raise ConfigError(
            [
                f"{shown}: model.name: '{name}' is neither a checkpoint that exists nor a model; "
                f"allowed: a path, {', '.join(model_names())}"
            ]
        )
    try:
        geometry = model_geometry(name)
        if frames is not None:
            geometry = replace(geometry, num_frames=frames)
    except (ValueError, OSError) as error:
        raise ConfigError([f"{shown}: model.name: {error}"]) from None
    if name in ARCHITECTURES:
        return ModelRef(name=name, path=None, sha256=None, frames=frames, engine=engine), geometry
    digest = hash_checkpoint(path)
    own = None if name in EMBEDDED else path
    shown_name = name if own is None else path.name
    return ModelRef(name=shown_name, path=own, sha256=digest, frames=frames, engine=engine), geometry


def hash_checkpoint(path: Path) -> str:
    """Return the SHA-256 of a checkpoint: of the file, or of a folder's files with their names."""
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    for file_path in sorted(path.rglob("*")):
        if file_path.is_file():
            with file_path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{file_path.relative_to(path).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _resolve_devices(grid: GridConfig, shown: str, resolve: Callable[[str], str]) -> dict[str, str]:
    devices = {}
    for i, device in enumerate(grid.device):
        try:
            devices[device] = resolve(device)
        except ValueError as error:
            raise ConfigError([f"{shown}: grid.device.{i}: {error}"]) from None
    return devices


def _check_data(config: SweepConfig, model: ModelRef, geometry: Geometry, shown: str) -> None:
    """Raise where quality cannot be measured: random weights, or clips longer than the model's input."""
    if "quality" not in config.kinds:
        return
    if model.sha256 is None:
        raise ConfigError(
            [
                f"{shown}: kinds: the weights of '{model.name}' are random, whose quality means nothing; "
                "leave 'quality' out, or give a trained model"
            ]
        )
    frames = int((config.data.seconds * 1000 - 25) // 10 + 1)
    if frames > geometry.num_frames:
        raise ConfigError(
            [
                f"{shown}: data.seconds: clips of {config.data.seconds:g} s have {frames} frames, the model takes "
                f"{geometry.num_frames}; give at most {(geometry.num_frames * 10 + 15) / 1000:g} s, or model.frames"
            ]
        )


def _check_reductions(config: SweepConfig, geometry: Geometry, shown: str) -> None:
    """Raise, once a reason, where the model has too few tokens for a schedule that is not excluded."""
    grid, problems = config.grid, []
    points = itertools.chain.from_iterable(_points(config, kind) for kind in config.kinds)
    # What is capped is never impossible.
    asked = {(p["method"], p["schedule"], p["r"]) for p in points if p["excess"] == "refuse"}
    for method, (i, schedule) in itertools.product(grid.method, enumerate(grid.schedule)):
        if not _takes_r(schedule):
            wanted = any((method, schedule, r) in asked for r in grid.r)
            reason = _impossible(method, schedule, geometry) if wanted else None
            problems += [f"{shown}: grid.schedule.{i}: {reason}"] if reason else []
            continue
        for j, r in enumerate(grid.r):
            reason = _impossible(method, schedule_text(schedule, r), geometry)
            if reason and (method, schedule, r) in asked:
                most = largest_r(method, schedule, geometry)
                problems.append(f"{shown}: grid.r.{j}: {reason}. The largest r of {method} {schedule} here is {most}")
    if problems:
        raise ConfigError(problems)


def largest_r(method: str, schedule: str, geometry: Geometry) -> int:
    """Return the largest `r` that a schedule of the grid can have with a model."""
    r = 0
    while _impossible(method, schedule_text(schedule, r + 1), geometry) is None:
        r += 1
    return r


def _impossible(method: str, schedule: str, geometry: Geometry) -> str | None:
    """Return why a model cannot do a reduction, None where it can."""
    from fastast.reduction import TokenReduction

    try:
        TokenReduction(method=method, schedule=parse_schedule(schedule)).tokens_per_block(geometry)
    except ValueError as error:  # ReductionError or ScheduleError
        return str(error)
    return None
