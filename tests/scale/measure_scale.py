"""How the harness's commands grow with the records there are: seconds and memory of each, at two sizes.

`python tests/scale/measure_scale.py [--records 1000 10000] [--update]`. Records are made from committed ones and belong
to a sweep of cheap questions; a third of them is of this machine. Each command is a process of its own, and what Python
and its libraries take to start is in its time. With `--update` the tables go into `docs/measuring.md`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.records.schema import Performance

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "measuring.md"
REPORTED = 1000
"""Cells of the sweep that is reported."""
GRID = 100_000
"""Cells of the grid that is expanded."""
SWEEP = """
name = "{name}"
kinds = {kinds}
[model]
name = "ast_tiny_soundscapes"
[grid]
schedule = ["constant", "decreasing"]
r = {r}
method = ["tome"]
batch_size = {batch_sizes}
device = ["cpu"]
[measure]
baselines = ["unmerged"]
"""
TARGETS = {"status": 2, "run": 3, "export": 10, "gather": 30, "report": 60, "expand": 5}
"""Seconds that a command should take at most, by its first word."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a command took."""

    seconds: float
    mib: float
    """Most resident memory of it and what it started."""


def sweep_file(folder: Path, name: str, cells: int, kinds: Sequence[str] = ("performance",)) -> Path:
    """Write a sweep of so many cells, at least, of two schedules."""
    rates = list(range(1, 46))
    per_batch = len(rates) * 2
    scored = per_batch if "quality" in kinds else 0
    batch_sizes = list(range(1, max(1, -(-(cells - scored) // per_batch)) + 1))
    path = folder / f"{name}.toml"
    path.write_text(SWEEP.format(name=name, kinds=list(kinds), r=rates, batch_sizes=batch_sizes).replace("'", '"'))
    return path


def make_records(sweep: Path, results: Path, machines: Sequence[str]) -> None:
    """Write records of all cells of a sweep on every machine, with their tables, as runs would leave them.

    What was measured is that of two committed records, of speed and of quality.
    """
    from bench.records.store import Store, read_record, record_bytes
    from bench.records.table import write_table
    from bench.sweep.expansion import expand
    from bench.sweep.file import load_sweep

    config = load_sweep(sweep)
    cells = expand(config, str(sweep))
    committed = [read_record(path) for path in sorted((ROOT / "results").glob("*/default/*.json"))]
    merged = [record for record in committed if record.status == "ok" and record.cell.question["reduction"]]
    like = {kind: next(one for one in merged if getattr(one, kind) is not None) for kind in config.kinds}
    for key in machines:
        store = Store(results, key, config.name)
        store.folder.mkdir(parents=True)
        for cell in cells:
            of = like[cell.kind]
            part = of.cell.model_copy(update={"id": cell.id, "kind": cell.kind, "question": cell.question})
            machine = of.machine.model_copy(update={"key": key})
            record = of.model_copy(update={"cell": part, "machine": machine, "sweep": config.name})
            if record.performance is not None:
                record = record.model_copy(update={"performance": at_batch(record.performance, cell.batch_size)})
            store.path(cell.id).write_bytes(record_bytes(record))
        write_table(store.folder)


def at_batch(measured: Performance, batch_size: int) -> Performance:
    """Return a measurement as of another batch size: what a row of a report is told by."""
    arms = {name: arm.model_copy(update={"batch_size": batch_size}) for name, arm in measured.arms.items()}
    return measured.model_copy(update={"arms": arms})


def make_apart(*arguments: object) -> None:
    """Call `make_records` in a process of its own: what is started from a large one counts its memory as its own."""
    process = multiprocessing.get_context("spawn").Process(target=make_records, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"records could not be made: exit code {process.exitcode}")


def cost(*command: object) -> Cost:
    """Run a command and return what it took; what it says is shown where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "FASTAST_CACHE": os.environ["FASTAST_CACHE"]},
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


def this_machine() -> str:
    """Return the key of this machine, as a run finds it."""
    code = "from bench.cell.worker import probe; print(probe('cpu', None)[0].key)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def costs(records: int, folder: Path, machine: str) -> Iterator[tuple[str, Cost]]:
    """Yield every command with what it takes where there are so many records on three machines."""
    machines = (machine, "cpu-server-2-threads", "nvidia-h100-80gb-hbm3")
    results, large = folder / "results", sweep_file(folder, "large", -(-records // len(machines)))
    make_apart(large, results, machines)
    bench = ("-m", "bench")
    yield "status, first time", cost(*bench, "status", large, "--results", results)
    yield "status", cost(*bench, "status", large, "--results", results)
    yield "run, all done, first time", cost(*bench, "run", large, "--results", results)
    yield "run, all done", cost(*bench, "run", large, "--results", results)
    yield "export", cost(*bench, "export", "--results", results, "--out", folder / "cells.csv")
    yield "gather", cost(*bench, "gather", results, "--into", folder / "gathered")
    yield "gather, nothing new", cost(*bench, "gather", results, "--into", folder / "gathered")
    reported = sweep_file(folder, "reported", min(records, REPORTED), ("performance", "quality"))
    make_apart(reported, folder / "one", (machine,))
    report = ("report", "reported", "--results", folder / "one", "--out", folder / "reports")
    yield f"report of {REPORTED:,} cells", cost(*bench, *report)


def expansion(folder: Path) -> Cost:
    """Return what expanding and listing a large grid takes."""
    grid = sweep_file(folder, "grid", GRID)
    return cost("-m", "bench", "run", grid, "--dry-run", "--results", folder / "none")


def added_seconds() -> float:
    """Return the seconds that the harness adds to a cell after the first: all but its model and its forwards.

    Cells are run as ever, by a server that has loaded everything, in processes that set themselves up, describe the
    machine, software and surroundings, watch the conditions, and answer with a committed measurement, which is written.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests/scale/added.py"), folder],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/scale'}"},
            capture_output=True,
            text=True,
            check=True,
        )
    return float(done.stdout.split()[-1])


def table(sizes: Sequence[int]) -> str:
    """Return a table of seconds and memory at every size, and how seconds grow."""
    found: dict[str, dict[int, Cost]] = {}
    machine = this_machine()
    with tempfile.TemporaryDirectory() as place:
        os.environ["FASTAST_CACHE"] = str(Path(place) / "cache")
        for size in sizes:
            folder = Path(place) / str(size)
            folder.mkdir()
            for name, one in costs(size, folder, machine):
                found.setdefault(name, {})[size] = one
                print(f"{size:,} records, {name}: {one.seconds:.1f} s, {one.mib:.0f} MiB", file=sys.stderr)
        grid, start = expansion(Path(place)), cost("-c", "import torch")
    first, last = sizes[0], sizes[-1]
    heads = " | ".join(f"{size:,} records (s)" for size in sizes)
    lines = [f"| command | {heads} | growth | at most (s) | memory (MiB) |", "|---|" + "---:|" * (len(sizes) + 3)]
    for name, by_size in found.items():
        seconds = " | ".join(f"{by_size[size].seconds:.1f}" for size in sizes)
        growth = "" if name.startswith("report") else f"{by_size[last].seconds / by_size[first].seconds:.1f}"
        target = "" if "first time" in name else TARGETS[name.split(",")[0].split()[0]]
        lines.append(f"| {name} | {seconds} | {growth} | {target} | {by_size[last].mib:.0f} |")
    blank = " | ".join("" for _ in sizes)
    lines.append(
        f"| run --dry-run of {GRID:,} cells | {blank}{grid.seconds:.1f} | | {TARGETS['expand']} | {grid.mib:.0f} |"
    )
    lines.append(f"| PyTorch's start and end, in some of these | {blank}{start.seconds:.1f} | | | {start.mib:.0f} |")
    added = f"To a cell after the first, the harness adds {added_seconds():.2f} s: start, description, record."
    return "\n".join([f"On {machine}:", "", *lines, "", added])


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--update", action="store_true", help="write the tables into docs/measuring.md")
    options = parser.parse_args(arguments)
    text = table(options.records)
    print(text)
    if options.update:
        from page_parts import write_part

        write_part(PAGE, "scale", f"{text}\n")


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    main(sys.argv[1:])
