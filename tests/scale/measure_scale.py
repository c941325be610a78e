"""How the harness's commands grow with the records there are: seconds and memory of each, at two sizes.

`python tests/scale/measure_scale.py [--records 1000 10000]`. Records are those of a sweep of cheap questions, made from
a committed one; each command is a process of its own, and what Python and its libraries take to start is in its time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MACHINES = ("laptop", "server", "cluster")
REPORTED = 1000
"""Cells of the sweep that is reported."""
GRID = 100_000
"""Cells of the grid that is expanded."""
SWEEP = """
name = "{name}"
kinds = ["performance"]
[model]
name = "ast_tiny_soundscapes"
[grid]
schedule = ["constant", "decreasing"]
r = {r}
method = ["tome"]
batch_size = {batch_sizes}
[measure]
baselines = ["unmerged"]
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a command took."""

    seconds: float
    mib: float
    """Most resident memory of it and what it started."""


def sweep_file(folder: Path, name: str, cells: int) -> Path:
    """Write a sweep of so many cells, at least, of two schedules."""
    rates = list(range(1, 46))
    batch_sizes = list(range(1, -(-cells // (2 * len(rates))) + 1))
    path = folder / f"{name}.toml"
    path.write_text(SWEEP.format(name=name, r=rates, batch_sizes=batch_sizes))
    return path


def make_records(sweep: Path, results: Path, count: int, machines: Sequence[str]) -> None:
    """Write records of a sweep's first cells, as many on each machine, which would be those of a run."""
    from bench.records.store import Store, read_record
    from bench.sweep.expansion import expand
    from bench.sweep.file import load_sweep

    config = load_sweep(sweep)
    cells = expand(config, str(sweep))[: -(-count // len(machines))]
    committed = (read_record(path) for path in sorted((ROOT / "results").glob("*/default/*.json")))
    like = next(record for record in committed if record.performance is not None and record.status == "ok")
    for key in machines:
        machine = like.machine.model_copy(update={"key": key})
        store = Store(results, key, config.name)
        store.folder.mkdir(parents=True)
        for cell in cells:
            part = like.cell.model_copy(update={"id": cell.id, "kind": cell.kind, "question": cell.question})
            record = like.model_copy(update={"cell": part, "machine": machine, "sweep": config.name})
            store.path(cell.id).write_text(record.model_dump_json(indent=1))


def cost(*command: object) -> Cost:
    """Run a command and return what it took; what it says is shown where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{said}")
    return Cost(seconds=seconds, mib=usage.ru_maxrss / 1024)


def costs(records: int, folder: Path) -> Iterator[tuple[str, Cost]]:
    """Yield every command with what it takes where there are so many records on three machines."""
    results, reported = folder / "results", sweep_file(folder, "reported", REPORTED)
    large = sweep_file(folder, "large", -(-records // len(MACHINES)))
    make_records(large, results, records, MACHINES)
    make_records(reported, folder / "one", min(records, REPORTED), ("laptop",))
    bench = ("-m", "bench")
    yield "status", cost(*bench, "status", large, "--results", results)
    yield "export", cost(*bench, "export", "--results", results, "--out", folder / "cells.csv")
    yield "gather", cost(*bench, "gather", results, "--into", folder / "gathered")
    report = ("report", "reported", "--results", folder / "one", "--out", folder / "reports", "--format", "svg")
    yield f"report of {min(records, REPORTED):,} cells", cost(*bench, *report)


def expansion(folder: Path) -> Cost:
    """Return what expanding a large grid takes."""
    grid = sweep_file(folder, "grid", GRID)
    return cost("-m", "bench", "run", grid, "--dry-run", "--results", folder / "none")


def table(sizes: Sequence[int]) -> str:
    """Return a table of seconds and memory at every size, and how seconds grow."""
    found: dict[str, dict[int, Cost]] = {}
    with tempfile.TemporaryDirectory() as place:
        for size in sizes:
            folder = Path(place) / str(size)
            folder.mkdir()
            for name, one in costs(size, folder):
                found.setdefault(name.split(" of ")[0], {})[size] = one
                print(f"{size:,} records, {name}: {one.seconds:.1f} s, {one.mib:.0f} MiB", file=sys.stderr)
        grid = expansion(Path(place))
    first, last = sizes[0], sizes[-1]
    heads = " | ".join(f"{size:,} records (s)" for size in sizes)
    lines = [f"| command | {heads} | growth | memory (MiB) |", "|---|" + "---:|" * (len(sizes) + 2)]
    for name, by_size in found.items():
        seconds = " | ".join(f"{by_size[size].seconds:.1f}" for size in sizes)
        growth = by_size[last].seconds / by_size[first].seconds
        lines.append(f"| {name} | {seconds} | {growth:.1f} | {by_size[last].mib:.0f} |")
    blank = " | ".join("" for _ in sizes)
    lines.append(f"| listing a grid of {GRID:,} cells | {blank}{grid.seconds:.1f} | | {grid.mib:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 10_000])
    sys.path.insert(0, str(ROOT))
    assert resource.RUSAGE_CHILDREN
    print(table(parser.parse_args().records))
