"""From a sweep to its cells: the grid without what is excluded, the model and devices resolved, the impossible told."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.measure.devices import resolve_local
from bench.sweep.axes import schedule_text, takes_r
from bench.sweep.cells import Cell, ModelRef
from bench.sweep.complaints import ConfigError, as_toml
from bench.sweep.config import GridConfig, SweepConfig
from bench.sweep.data import DataRef, resolve_data
from bench.sweep.engines import engine_problem
from bench.sweep.lengths import clip_frames, geometry_at_length, length_problem
from bench.sweep.strides import at_stride, check_strides, other_stride
from fastast.geometry import Geometry
from fastast.names import hub_hint
from fastast.schedule import parse_schedule

if TYPE_CHECKING:
    from fastast.checkpoints import Checkpoint
    from fastast.reduction import TokenReduction


_NO_REDUCTION = ("stride", "length", "engine", "attention", "dtype", "device", "batch_size")
"""Axes that say nothing of a reduction."""


def expand(
    config: SweepConfig, shown: str = "sweep", resolve: Callable[[str], str] = resolve_local
) -> tuple[Cell, ...]:
    """Return the cells of a sweep, each once: by priority, then unmerged ones first, then quality before performance.

    `shown` is the name of the file in messages; `resolve` says what a device of the sweep means where the cells will
    run, which is here if not given. Raises ConfigError for what that place or the model cannot do.
    """
    model, geometry, checkpoint = _resolve_model(config, shown)
    data = None
    if "quality" in config.kinds:
        model, data = _resolve_quality(config, model, geometry, checkpoint, shown)
    calibration = _resolve_calibration(config, shown) if "int8" in config.grid.dtype else None
    devices = _resolve_devices(config.grid, shown, resolve)
    points: _Points = {kind: list(_points(config, kind)) for kind in config.kinds}
    reductions = _Reductions(config)
    _check_engines(config, points, devices, shown)
    check_strides(config.grid.stride, geometry, shown)
    _check_reductions(config, points, reductions, geometry, clip_frames(data), shown)
    _check_hop(config, geometry, shown)
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


def _check_hop(config: SweepConfig, geometry: Geometry, shown: str) -> None:
    """Raise ConfigError where a stream would not be heard whole by a model of this input."""
    if config.measure.scope != "stream":
        return
    from fastast.engine.waveforms import input_samples
    from fastast.inference.windows import hop_samples

    try:
        hop_samples(config.measure.hop_seconds, input_samples(geometry.num_frames))
    except ValueError as error:
        raise ConfigError([f"{shown}: measure.hop_seconds: {error}"]) from None


def _rank(config: SweepConfig, point: Mapping[str, Any]) -> int:
    """Return the index of the first `[[priority]]` table that matches a point, or their number where none does."""
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
        attention = "auto"  # kernels differ in how they weigh sizes; without sizes they are one
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


class _Reductions:
    """The reductions of a grid, None of an unmerged model, each made once however many points share it."""

    def __init__(self, config: SweepConfig) -> None:
        self._config = config
        axes = config.grid.axes.items()
        self._axes = [name for name, values in axes if name not in _NO_REDUCTION and len(values) > 1]
        self._made: dict[Hashable, TokenReduction | None] = {}

    def __call__(self, point: Mapping[str, Any]) -> TokenReduction | None:
        """Return the reduction of a point. Raises ValueError for an option's value that its method refuses."""
        key = self.key(point)
        if key not in self._made:
            self._made[key] = None if _is_unmerged(point) else _reduction(point, self._config)
        return self._made[key]

    def key(self, point: Mapping[str, Any]) -> Hashable:
        """Return what the reduction of a point depends on; True is no 1."""
        return tuple((type(point[name]), point[name]) for name in self._axes)


def _is_unmerged(point: Mapping[str, Any]) -> bool:
    """With r = 0 it is the unmerged model, whatever the other axes of the reduction say."""
    return getattr(parse_schedule(schedule_text(point["schedule"], point["r"])), "r", None) == 0


def _reduction(point: Mapping[str, Any], config: SweepConfig) -> TokenReduction:
    """Return the reduction of a point; an axis that is no option of its method is not in it."""
    from fastast.reduction import TokenReduction, get_method
    from fastast.reduction.options import option_types, value_fits

    method = get_method(point["method"])
    kinds = option_types(method.options)
    own = [name for name in config.grid.options if name in kinds and value_fits(kinds[name], point[name])]
    reduction = TokenReduction(
        schedule=parse_schedule(schedule_text(point["schedule"], point["r"])),
        method=point["method"],
        options={name: point[name] for name in own},
        proportional=point["proportional"],
        combine=point["combine"],
        place=point["place"],
        threshold=None if point["threshold"] == -1 else point["threshold"],
        num_protected=None if point["num_protected"] == -1 else point["num_protected"],
        excess=point["excess"],
    )
    seed = config.seed if point["draw"] == -1 else point["draw"]
    return replace(reduction, seed=seed) if reduction.draws else reduction


def _resolve_model(config: SweepConfig, shown: str) -> tuple[ModelRef, Geometry, Checkpoint | None]:
    from fastast.checkpoints import load_checkpoint
    from fastast.commands.describe import model_geometry
    from fastast.zoo import ARCHITECTURES, EMBEDDED, model_names

    name, frames = config.model.name, config.model.frames
    path = EMBEDDED.get(name, Path(name))
    if name not in ARCHITECTURES and not path.exists():
        raise ConfigError(
            [
                f"{shown}: model.name: '{name}' is neither a checkpoint that exists nor a model; "
                f"allowed: a path, {', '.join(model_names())}{hub_hint(name)}"
            ]
        )
    said = _said_of_file(config, shown)
    try:
        checkpoint = None if name in ARCHITECTURES else load_checkpoint(path, **said)
        geometry = model_geometry(name, said["geometry"]) if checkpoint is None else checkpoint.geometry
        if frames is not None:
            geometry = replace(geometry, num_frames=frames)
    except (ValueError, OSError) as error:
        raise ConfigError([f"{shown}: model.name: {error}"]) from None
    fields = tuple(sorted(said["geometry"].items()))
    if name in ARCHITECTURES:
        return ModelRef(name=name, path=None, sha256=None, frames=frames, geometry=fields), geometry, None
    digest = hash_checkpoint(path)
    own = None if name in EMBEDDED else path
    shown_name = name if own is None else path.name
    ref = ModelRef(
        name=shown_name,
        path=own,
        sha256=digest,
        frames=frames,
        normalisation=said["normalisation"],
        geometry=fields,
    )
    return ref, geometry, checkpoint


def _said_of_file(config: SweepConfig, shown: str) -> dict[str, Any]:
    """Return what the sweep says of its checkpoint, as `load_checkpoint` takes it, and of a shape without weights."""
    from fastast.frontend import Normalisation
    from fastast.zoo import ARCHITECTURES, EMBEDDED

    scale, geometry = config.model.normalisation, config.model.geometry
    has_own = {"normalisation": (*ARCHITECTURES, *EMBEDDED), "geometry": tuple(EMBEDDED)}
    for key, given in (("normalisation", scale), ("geometry", geometry)):
        if given and config.model.name in has_own[key]:
            raise ConfigError([f"{shown}: model.{key}: '{config.model.name}' is no checkpoint of yours; leave it out"])
    try:
        return {"normalisation": scale and Normalisation(mean=scale[0], std=scale[1]), "geometry": geometry}
    except ValueError as error:
        raise ConfigError([f"{shown}: model.{error}"]) from None


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


_Points = Mapping[str, Sequence[Mapping[str, Any]]]
"""By kind, the points of the grid that are not excluded."""


def _check_engines(config: SweepConfig, points: _Points, devices: Mapping[str, str], shown: str) -> None:
    """Raise, once per reason, where an engine cannot do what a point that is not excluded asks of it."""
    grid = config.grid
    problems: dict[str, None] = {}  # in their order, each once
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


def _resolve_calibration(config: SweepConfig, shown: str) -> DataRef:
    """Return the clips that int8 is calibrated on, of the training split of the sweep's data."""
    from fastast.exporting.calibration import CALIBRATION_CLIPS

    try:
        every = resolve_data(config.data.model_copy(update={"split": "train", "clips": None}))
        return resolve_data(
            config.data.model_copy(update={"split": "train", "clips": min(CALIBRATION_CLIPS, every.clips)})
        )
    except (ValueError, OSError) as error:
        reason = str(error).removeprefix("data: ")
        raise ConfigError([f"{shown}: data: int8 is calibrated on clips of the training split: {reason}"]) from None


def _resolve_quality(
    config: SweepConfig, model: ModelRef, geometry: Geometry, checkpoint: Checkpoint | None, shown: str
) -> tuple[ModelRef, DataRef]:
    """Return the clips of a sweep and the model with its classes matched to theirs.

    Raises ConfigError where quality cannot be measured: random weights, weights that do not say how their filterbank is
    normalised, data that is not there, other classes, or soundscapes longer than the model's input.
    """
    if checkpoint is None:
        raise ConfigError(
            [
                f"{shown}: kinds: the weights of '{model.name}' are random, whose quality means nothing; "
                "leave 'quality' out, or give a trained model"
            ]
        )
    if checkpoint.normalisation is None:
        raise ConfigError(
            [
                f"{shown}: model.name: {config.model.name}: the file does not say how the filterbank was normalised "
                "(mean and deviation); say it: model.normalisation = [mean, std], or leave 'quality' out"
            ]
        )
    try:
        data = resolve_data(config.data)
    except (ValueError, OSError) as error:
        raise ConfigError([f"{shown}: data: {str(error).removeprefix('data: ')}"]) from None
    frames = clip_frames(data) or 0
    if frames > geometry.num_frames:
        seconds = getattr(data.options, "seconds")  # noqa: B009 - of soundscapes only
        raise ConfigError(
            [
                f"{shown}: data.seconds: clips of {seconds:g} s have {frames} frames, the model takes "
                f"{geometry.num_frames}; give at most {(geometry.num_frames * 10 + 15) / 1000:g} s, or model.frames"
            ]
        )
    return _match_model(config, model, checkpoint, data, shown), data


def _match_model(config: SweepConfig, model: ModelRef, checkpoint: Checkpoint, data: DataRef, shown: str) -> ModelRef:
    """Return the model with its outputs matched to the data's classes by name."""
    from fastast.classes import AS_DATA, is_same_order, match_classes, read_names

    stated = config.model.labels
    try:
        columns = match_classes(
            config.model.name,
            checkpoint.labels,
            checkpoint.geometry.num_classes,
            data.classes,
            stated=stated,
            option="model.labels",
        )
        labels = data.classes if stated == AS_DATA else read_names(Path(stated)) if stated else None
    except ValueError as error:
        raise ConfigError([f"{shown}: model: {error}"]) from None
    return replace(
        model,
        labels=labels,
        activation=config.model.activation,
        columns=None if is_same_order(columns) else columns,
    )


def _each_once(points: _Points, key: Callable[[Mapping[str, Any]], Hashable]) -> Iterator[Mapping[str, Any]]:
    """Yield the first point of every key."""
    seen = set[Hashable]()
    for point in itertools.chain.from_iterable(points.values()):
        if (found := key(point)) not in seen:
            seen.add(found)
            yield point


def _check_reductions(
    config: SweepConfig, points: _Points, reductions: _Reductions, own: Geometry, frames: int | None, shown: str
) -> None:
    """Raise, once per reason, where the model has too few tokens for a schedule that is not excluded.

    frames: of every clip, where all have as many; else a clip that is too short for a schedule fails its cell.
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
            if _impossible(nothing, geometry) is None:  # else it is not for the r that it is refused
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


def _unmeasurable(reduction: TokenReduction, point: Mapping[str, Any]) -> str | None:
    """Return why a threshold cannot be measured as a point asks, None where it can."""
    if reduction.threshold is None:
        return None
    if point["engine"] != "plain":
        return f"engine '{point['engine']}' has a number of tokens that is known before; write engine = ['plain']"
    if point["kind"] == "performance":
        return (
            "clips decide on their number of tokens, and speed is timed on noise, whose tokens are as similar as no "
            "sound's; write kinds = ['quality'], or [[exclude]] kind = 'performance' and the thresholds"
        )
    return None


def largest_r(reduction: TokenReduction, schedule: str, geometry: Geometry) -> int:
    """Return the largest `r` that a schedule of the grid can have with a model, the rest being as in `reduction`."""
    r = 0
    while _impossible(replace(reduction, schedule=parse_schedule(schedule_text(schedule, r + 1))), geometry) is None:
        r += 1
    return r


def _impossible(reduction: TokenReduction, geometry: Geometry) -> str | None:
    """Return why a model cannot do a reduction, None where it can."""
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
