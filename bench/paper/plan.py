"""Plan what of the paper can be measured with the data and checkpoints that are there, and tell what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.paper.protocols import PROTOCOLS, Protocol
from bench.paper.sets import FoundSet, find_sets
from bench.paper.weights import FoundWeights, find_weights_below, left_out_fold, likely_sets, without_fold
from bench.sweep.cells import Cell
from bench.sweep.complaints import ConfigError
from bench.sweep.config import SweepConfig
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep
from bench.sweep.grid_checks import largest_r
from bench.sweep.machine_limits import check_machine
from fastast.scores import ACTIVATIONS


@dataclass(frozen=True, kw_only=True)
class PlannedSweep:
    """The sweep of one checkpoint on one data set."""

    config: SweepConfig
    cells: tuple[Cell, ...]
    heading: str
    """Data set, clips and checkpoint, for people."""
    notes: tuple[str, ...]
    """What was taken from the protocol because the files do not say it, and what was left out."""
    arguments: tuple[str, ...]
    """Arguments of `python -m bench run` that run the same sweep."""
    fold: int | None = None
    """For ESC-50, the fold that it is tested on."""
    family: str = ""
    """Name that the models of all folds share."""


@dataclass(frozen=True, kw_only=True)
class PaperPlan:
    """All sweeps that can run, and what is missing for others."""

    sweeps: tuple[PlannedSweep, ...]
    missing: tuple[str, ...]
    """What is missing for every protocol, and where its owners publish it."""
    refused: tuple[str, ...]
    """What is there but cannot be used, and why."""


def make_plan(data: Path, checkpoints: Path, overrides: Sequence[str] = ()) -> PaperPlan:
    """Find data sets below one folder and checkpoints below another, and match them.

    `overrides`: `key=value` that every sweep gets besides those for its data and checkpoint; a sweep that does not take
    one is refused. Raises ConfigError for a folder that does not exist.
    """
    for option, folder in (("--data", data), ("--checkpoints", checkpoints)):
        if not folder.is_dir():
            raise ConfigError([f"{option} {folder}: there is no such folder"])
    sets, problems = find_sets(data)
    weights, refused = find_weights_below(checkpoints)
    classes = {sweep: found[0].classes for sweep, found in sets.items()}
    meant: dict[str, list[FoundWeights]] = {protocol.sweep: [] for protocol in PROTOCOLS}
    for one in weights:
        likely = likely_sets(one, classes)
        for sweep in likely:
            meant[sweep].append(one)
        if not likely:
            count = one.checkpoint.geometry.num_classes
            refused.append(f"{one.path}: its {count} classes are those of no data set of the paper")
    sweeps, missing = [], []
    for protocol in PROTOCOLS:
        there, fitting = sets.get(protocol.sweep, []), meant[protocol.sweep]
        missing += _missing(protocol, there, fitting, problems.get(protocol.sweep, ""))
        refused += [f"{other.root}: {protocol.title} too; {there[0].root} is taken" for other in there[1:]]
        for one in fitting if there else ():
            try:
                sweeps.append(_sweep(there[0], one, checkpoints, overrides))
            except ConfigError as error:
                refused.append(f"{one.path} on {protocol.title}: {error}")
    return PaperPlan(sweeps=tuple(sweeps), missing=tuple(missing), refused=tuple(refused))


def _missing(protocol: Protocol, there: list[FoundSet], fitting: list[FoundWeights], problem: str) -> list[str]:
    lines = []
    if not there:
        why = f" ({problem})" if problem else ""
        waiting = f"; for {', '.join(str(one.path) for one in fitting)}" if fitting else ""
        lines.append(f"{protocol.title}, the data{why}: {protocol.data_from}{waiting}")
    if not fitting:
        lines.append(f"{protocol.title}, a checkpoint of its classes: {protocol.weights_from}")
    return lines


def _sweep(data: FoundSet, weights: FoundWeights, folder: Path, overrides: Sequence[str]) -> PlannedSweep:
    """Return the sweep of a checkpoint on a data set. Raises ConfigError where it cannot be measured."""
    protocol, file = data.protocol, find_sweep(data.protocol.sweep)
    given, notes = _about_weights(protocol, weights)
    given += data.overrides()
    if data.missing:
        notes.append(f"{data.missing:,} clips of its tables are missing and left out: other clips give another score")
    fold: int | None = None
    if protocol.data_set == "esc50":
        if (fold := left_out_fold(weights, folder)) is None:
            raise ConfigError(
                [
                    "it is not known which fold the model was not trained on, and on the others its accuracy means "
                    "nothing; name it in the file's path, such as fold1"
                ]
            )
        given.append(f"data.fold={fold}")
        notes.append(f"tested on fold {fold}, which it was not trained on")
    if not any(override.startswith("grid.r=") for override in overrides):
        given += _fitting_r(file, weights, notes)
    given = [f"name={json.dumps(f'{protocol.sweep}-{weights.slug}')}", *given, *overrides]
    config = load_sweep(file, given)
    cells = expand(config, str(file))
    check_machine(config, cells, str(file))
    heading = f"{config.name}: {weights.path} on {protocol.title}, {data.clips:,} clips of test in {data.root}"
    arguments = [protocol.sweep, *(part for override in given for part in ("-s", override))]
    return PlannedSweep(
        config=config,
        cells=cells,
        heading=heading,
        notes=tuple(notes),
        arguments=tuple(arguments),
        fold=fold,
        family="" if fold is None else f"{protocol.sweep}-{without_fold(weights.slug)}",
    )


def _about_weights(protocol: Protocol, weights: FoundWeights) -> tuple[list[str], list[str]]:
    """Return the overrides that describe a checkpoint, and notes on those that come from the protocol, not the file."""
    checkpoint = weights.checkpoint
    given = [
        f"model.name={json.dumps(str(weights.path), ensure_ascii=False)}",
        f"model.frames={checkpoint.geometry.num_frames}",
    ]
    notes = []
    if checkpoint.normalisation is None:
        mean, std = protocol.normalisation.mean, protocol.normalisation.std
        given.append(f"model.normalisation=[{mean}, {std}]")
        notes.append(f"the file does not say its normalisation: AST's recipe has mean {mean}, std {std}")
    if checkpoint.labels is None and protocol.output_order:
        given.append(f"model.labels={json.dumps(protocol.output_order, ensure_ascii=False)}")
        notes.append("the file does not name its classes: they are taken in the order of AST's recipe")
    if checkpoint.loss is None:
        activation = ACTIVATIONS[protocol.loss]
        given.append(f"model.activation={json.dumps(activation)}")
        notes.append(f"the file does not say its loss: scores are by {activation}, which fits that of AST's recipe")
    return given, notes


def _fitting_r(file: Path, weights: FoundWeights, notes: list[str]) -> list[str]:
    """Return a `grid.r` in the same proportions for a model that cannot remove as many tokens as the sweep asks for."""
    from fastast.reduction import TokenReduction
    from fastast.schedule import parse_schedule

    grid, geometry = load_sweep(file).grid, weights.checkpoint.geometry
    reduction = TokenReduction(schedule=parse_schedule("constant:0"))
    asked, most = max(grid.r), min(largest_r(reduction, schedule, geometry) for schedule in grid.schedule)
    if asked <= most:
        return []
    r = sorted({value * most // asked for value in grid.r})
    tokens = geometry.num_tokens
    notes.append(f"of {tokens:,} tokens each block can lose {most}, not {asked}: r is {', '.join(map(str, r))}")
    return [f"grid.r={r}"]
