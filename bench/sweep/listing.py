"""Remember the cells of a sweep: expanding one takes seconds, as it loads PyTorch, every method and the model.

A sweep changes far less often than people ask how far it is. What is remembered holds for the sweep's text, the
overrides, FastAST's own files and every file that the sweep names. Sweeps that depend on more are not remembered:
folders of models or data, methods of other packages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.sweep.complaints import ConfigError
from bench.sweep.data import MIXED
from bench.sweep.file import read_sweep
from fastast.data.soundscapes.cache import default_folder
from fastast.system.writing import write_whole

if TYPE_CHECKING:
    from bench.sweep.cells import Cell
    from bench.sweep.config import SweepConfig

ROOT = Path(__file__).parents[2]
_KEPT = 32
"""Number of sweeps that are remembered."""


@dataclass(frozen=True, kw_only=True)
class ListedCell:
    """What counting a cell takes to know about it."""

    id: str
    kind: str
    against: str | None = None
    """Id of the unmerged model's cell that it is compared with."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The cells of a sweep, each once, whatever devices they run on."""

    name: str
    """Name of the sweep, and so of the folder of its records."""
    devices: tuple[str, ...]
    """Devices as the sweep names them."""
    threads: int | None
    """Number of threads that the sweep asks for; None where it does not say."""
    cells: tuple[ListedCell, ...]


def listing_of(config: SweepConfig, cells: Sequence[Cell]) -> Listing:
    """Return the listing of a sweep that was expanded."""
    listed = {cell.id: ListedCell(id=cell.id, kind=cell.kind, against=cell.against) for cell in cells}
    return Listing(
        name=config.name,
        devices=config.grid.device,
        threads=config.measure.threads,
        cells=tuple(listed.values()),
    )


def remember(path: Path, overrides: Sequence[str], listing: Listing, place: Path | None) -> None:
    """Keep the listing of a sweep's file; where it cannot be kept, the sweep is expanded again next time.

    `place`: `place_of` from before the sweep was expanded. Nothing is kept if a file has changed since then.
    """
    if place is None or place_of(path, overrides) != place:
        return
    with suppress(OSError):
        write_whole(place, json.dumps(asdict(listing)).encode())
        for old in sorted(place.parent.glob("*.json"), key=lambda one: one.stat().st_mtime_ns)[:-_KEPT]:
            old.unlink(missing_ok=True)


def remembered(path: Path, overrides: Sequence[str]) -> Listing | None:
    """Return the listing of a sweep's file; None where it has to be expanded."""
    place = place_of(path, overrides)
    if place is None:
        return None
    with suppress(OSError, ValueError, TypeError, KeyError):
        raw = json.loads(place.read_bytes())
        cells = tuple(ListedCell(**one) for one in raw["cells"])
        return Listing(name=raw["name"], devices=tuple(raw["devices"]), threads=raw["threads"], cells=cells)
    return None


def place_of(path: Path, overrides: Sequence[str]) -> Path | None:
    """Return the file of the listing, named after all that it depends on; None where that cannot be told."""
    try:
        raw = read_sweep(path, overrides)
    except ConfigError:
        return None
    methods = {one.stem for one in (ROOT / "fastast/reduction/methods").glob("*.py")}
    if set(_texts(_in(raw, "data", "dataset"))) - {MIXED} or not set(_texts(_in(raw, "grid", "method"))) <= methods:
        return None
    digest = hashlib.sha256(repr((raw, tuple(overrides))).encode())
    for named in dict.fromkeys(_texts(raw)):
        try:
            file = Path(named).expanduser().resolve()
            if file.is_dir():
                return None
            if file.is_file():
                digest.update(_stamp(file))
        except (OSError, ValueError, RuntimeError):  # not the name of a file
            continue
    for package in ("fastast", "bench"):
        for file in sorted((ROOT / package).rglob("*")):
            if file.suffix in (".py", ".safetensors", ".json", ".toml"):
                digest.update(_stamp(file))
    return default_folder() / "listings" / f"{digest.hexdigest()[:32]}.json"


def _in(raw: dict[str, Any], table: str, key: str) -> Any:
    found = raw.get(table)
    return found.get(key) if isinstance(found, dict) else None


def _stamp(file: Path) -> bytes:
    there = file.stat()
    return f"{file}\0{there.st_size}\0{there.st_mtime_ns}\0".encode()


def _texts(value: Any) -> Iterator[str]:
    """Yield every string in a TOML table."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)
