"""Find out whether a run has nothing to do, without PyTorch: loading it takes longer than looking.

Wherever there is doubt, the answer is None, and the run finds out the long way.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure.machine import describe_processors
from bench.records.machines import first_unlike
from bench.records.store import Store, each_record
from bench.records.table import is_behind
from bench.run.driver import Options, RunSummary, is_wanted, say_skipped
from bench.run.progress import Progress
from bench.run.writer import Seen, behind_in, odd_cells
from bench.sweep.listing import Listing, listing_of, remember, remembered
from fastast.data.soundscapes.cache import default_folder
from fastast.system.writing import write_whole

if TYPE_CHECKING:
    from bench.records.schema import Record
    from bench.sweep.cells import Cell
    from bench.sweep.config import SweepConfig

_SETTINGS = re.compile(r"(OMP|MKL|ATEN|CUDA|HIP|ONEDNN|DNNL|OPENBLAS|FASTAST)_")
"""Environment variables that can change which machine PyTorch sees."""


def settled(
    path: Path, overrides: Sequence[str], options: Options, progress: Progress
) -> tuple[str, RunSummary] | None:
    """Return a sweep's name and the state of its cells if all have records of this machine and none is to be measured.

    None otherwise, and where an interrupted run left something to clean up, or a cell would be measured or compared
    again. Raises RecordError for a bad record, as the run would.
    """
    listing = remembered(path, overrides)
    machine = None if listing is None else _remembered_machine(listing)
    if listing is None or machine is None:
        return None
    store = Store(options.results, machine, listing.name)
    before = Counter[str]()
    for cell in listing.cells:
        head = store.head(cell.id)
        if head is None or is_wanted(head.status, options):
            return None
        before[head.status] += 1
    if any(store.folder.glob(".*")) or any(store.folder.glob("predictions/.*")) or is_behind(store.folder):
        return None
    seen: dict[tuple[str, str], Seen] = {}

    def read() -> Iterator[Record]:  # once, and one at a time
        for record in each_record(store.folder):
            seen[machine, record.cell.id] = Seen.of(record)
            yield record

    if first_unlike(read()):
        return None
    if odd_cells(seen) & {(machine, cell.id) for cell in listing.cells}:
        return None
    if behind_in(seen, machine, {cell.id: cell.against for cell in listing.cells}):
        return None
    say_skipped(before, before.total(), options, progress)
    return listing.name, RunSummary(before=before)


def keep_in_mind(
    path: Path,
    overrides: Sequence[str],
    config: SweepConfig,
    cells: Sequence[Cell],
    summary: RunSummary,
    listed: Path | None,
) -> None:
    """Keep what `settled` needs to know of a finished run; `listed`: `place_of` from before its sweep was expanded."""
    listing = listing_of(config, cells)
    place = _place(listing)
    if place is not None and len(summary.machines) == 1:
        remember(path, overrides, listing, listed)
        with suppress(OSError):
            write_whole(place, json.dumps(summary.machines[0]).encode())


def _remembered_machine(listing: Listing) -> str | None:
    place = _place(listing)
    if place is None:
        return None
    with suppress(OSError, ValueError):
        key = json.loads(place.read_bytes())
        return key if isinstance(key, str) else None
    return None


def _place(listing: Listing) -> Path | None:
    """Return the file of the machine's key, named after all that it depends on; None where a GPU may be there."""
    graphics = [path for name in ("nvidia*", "kfd", "dxg") for path in Path("/dev").glob(name)]
    if len(listing.devices) != 1 or listing.devices[0] not in ("cpu", "auto") or graphics:
        return None
    settings = {name: value for name, value in os.environ.items() if _SETTINGS.match(name)}
    known = (metadata.version("torch"), describe_processors(), sorted(settings.items()), listing.threads)
    digest = hashlib.sha256(repr(known).encode()).hexdigest()[:32]
    return default_folder() / "machines" / f"{digest}.json"
