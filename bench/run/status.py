"""Progress of a sweep, on every machine that has records of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.records.store import Store
from bench.run.progress import TimeLeft, duration
from bench.sweep.listing import ListedCell


def status_lines(sweep: str, cells: Sequence[ListedCell], results: Path) -> Iterator[str]:
    """Yield one line per machine: how many cells are done, failed and left, and how long the rest will take."""
    machines = sorted(folder.parent.name for folder in results.glob(f"*/{sweep}") if folder.is_dir())
    if not machines:
        yield f"{sweep}: {len(cells)} cells, no records in {results}"
    for machine in machines:
        store = Store(results, machine, sweep)
        left, counts = TimeLeft(cells), Counter[str]()
        for cell in cells:
            head = store.head(cell.id)
            counts[head.status if head else "left"] += 1
            if head is not None:
                left.done(cell.kind, head.seconds)
        seconds = left.estimate() if counts["left"] else 0
        time_left = f", about {duration(seconds)} to go" if seconds else ""
        listed = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        yield f"{sweep} on {machine}: {len(cells)} cells: {listed}{time_left}"
