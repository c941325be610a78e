"""Find the data sets of the paper below a folder, in any layout that FastAST reads."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.paper.protocols import PROTOCOLS, Protocol
from fastast.data.clip_files import subfolders
from fastast.data.datasets import DATASETS, DataOptions
from fastast.data.layouts.recognise import set_values, without_refusals
from fastast.data.training_set import DataError

_ANY_DATA = ("ast_lists", "parquet", "hdf5")
"""Layouts that can hold any data set; its number of classes tells which it is."""
_NOT_FROM_ABOVE = ("ast_lists", "cache")
"""Layouts that are recognised only by their own folder, not by one above it."""
_DEPTH = 2
"""Levels below the folder where a data set may begin."""


@dataclass(frozen=True, kw_only=True)
class FoundSet:
    """A data set of the paper that can be measured on."""

    protocol: Protocol
    name: str
    """Its layout, as sweeps name it."""
    root: Path
    """Folder that it was recognised by."""
    options: DataOptions
    """Options that read it."""
    classes: tuple[str, ...]
    """Its classes, in order."""
    clips: int
    """Number of clips of the test split that are there."""
    missing: int
    """Number of clips in its tables that are not."""

    def overrides(self) -> list[str]:
        """Return the overrides that describe it to a sweep, as `-s` takes them."""
        given = {"dataset": self.name, **set_values(self.options)}
        if self.missing:
            given["missing"] = "leave out"
        return [
            f"data.{key}={json.dumps(list(v) if isinstance(v, tuple) else v, ensure_ascii=False)}"
            for key, v in given.items()
        ]


def find_sets(folder: Path) -> tuple[dict[str, list[FoundSet]], dict[str, str]]:
    """Return, by name of sweep, the data sets below a folder, and why folders that look like one cannot be read."""
    found: dict[str, list[FoundSet]] = {}
    problems: dict[str, str] = {}
    for protocol in PROTOCOLS:
        for name in (protocol.data_set, *_ANY_DATA, "cache"):
            sets, problem = _below(protocol, name, folder, _DEPTH)
            found.setdefault(protocol.sweep, []).extend(sets)
            if problem and name == protocol.data_set:
                problems[protocol.sweep] = problem
    return {sweep: sets for sweep, sets in found.items() if sets}, problems


def _below(protocol: Protocol, name: str, folder: Path, depth: int) -> tuple[list[FoundSet], str]:
    """Return the data sets of one layout, each by the deepest folder that it can be read from; else what is wrong."""
    kind: Any = DATASETS.get(name)
    try:
        options, problem = kind.recognise(folder), ""
    except DataError as error:  # two of them below this folder
        options, problem = None, str(error)
    if options is None and not problem and name not in _NOT_FROM_ABOVE:
        return [], ""
    deeper = [_below(protocol, name, below, depth - 1) for below in subfolders(folder)] if depth else []
    if sets := [found for some, _ in deeper for found in some]:
        return sets, ""
    if options is None:
        return [], problem
    try:
        return list(_open(protocol, name, folder, options)), ""
    except (DataError, OSError) as error:
        return [], str(error)


def _open(protocol: Protocol, name: str, folder: Path, options: DataOptions) -> Iterator[FoundSet]:
    """Yield the set if it is the protocol's."""
    if name == "cache" and getattr(options, "holds", {}).get("data_set") != protocol.data_set:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come again when the sweep opens it
        data: Any = without_refusals(options).split("test")
    if name in _ANY_DATA and len(data.classes) != protocol.num_classes:
        return
    yield FoundSet(
        protocol=protocol,
        name=name,
        root=folder,
        options=options,
        classes=tuple(data.classes),
        clips=len(data),
        missing=len(getattr(data, "missing", ())),
    )
