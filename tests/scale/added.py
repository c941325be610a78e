"""What the harness adds to a cell: cells that do all that the harness does around a measurement, and measure nothing.

`python added.py FOLDER` prints the seconds between one record and the next.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
CELLS = 8


def answer(cell, context):
    """Set up, watch and describe as `bench.cell.worker.answer` does, and answer with a committed record."""
    from bench.cell import worker
    from bench.cell.answers import Answer
    from bench.measure.conditions import Watch

    like = committed()
    worker._set_up(cell.measure.threads, cell.measure.allocator)
    watch = Watch(cell.device)
    return Answer(
        machine=worker.describe_machine(cell.device),
        software=worker.describe_software(),
        surroundings=worker.describe_surroundings(),
        performance=like.performance,
        gates=like.gates,
        model=like.model,
        attention=like.attention,
        conditions=watch.conditions(),
    )


def committed():
    from bench.records.store import read_record

    found = (read_record(path) for path in sorted((ROOT / "results").glob("*/default/*.json")))
    return next(record for record in found if record.performance is not None and record.status == "ok")


def main(results: Path) -> None:
    from bench.run.driver import Options, run_sweep
    from bench.run.isolation import Isolation
    from bench.run.launchers import Runners
    from bench.run.launchers.local import LocalLauncher
    from bench.run.progress import Progress
    from bench.sweep.config import SweepConfig
    from bench.sweep.expansion import expand

    grid = {"r": tuple(range(1, CELLS + 1)), "device": ("cpu",)}
    config = SweepConfig.model_validate({"name": "added", "kinds": ("performance",), "grid": grid})
    launcher = LocalLauncher(Isolation(preload=("bench.cell.worker",)), Runners(answer="added:answer"))
    with Progress(sys.stderr) as progress:
        options = Options(results=results, cache=results)
        run_sweep("added", expand(config), options, progress=progress, launcher=launcher)
    written = sorted(path.stat().st_mtime for path in results.rglob("*/added/*.json"))
    assert len(written) == CELLS
    print(f"{median(after - before for before, after in pairwise(written)):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
