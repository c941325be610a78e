"""Drivers to be ended at random, and the account of what that cost.

A driver is a process of its own that runs a sweep of cheap cells. Every cell's process notes the cell in a log, so that
what was executed is known from outside, whatever the driver or its records say.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
SIGNALS = {signal.SIGKILL: 0.55, signal.SIGINT: 0.15, signal.SIGTERM: 0.15, signal.SIGHUP: 0.15}
"""What ends a driver, and how often: kill -9, Ctrl-C, kill, a closed terminal."""


@dataclass(kw_only=True)
class Account:
    """What happened to a sweep."""

    cells: int
    kills: Counter[str] = field(default_factory=Counter)
    """Signals that ended a driver."""
    starting: int = 0
    """Kills before the driver's first cell."""
    lost: Counter[str] = field(default_factory=Counter)
    """Cells that were started and had no record when their driver was gone."""
    half_written: int = 0
    """Temporary files that ended drivers left, which the next one has to remove."""
    seconds: float = 0.0
    exit_code: int | None = None
    """Of the last driver, which nobody ended."""

    def __str__(self) -> str:
        signals = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        return (
            f"{self.cells} cells, {sum(self.kills.values())} kills ({signals}), {self.starting} of them before a cell, "
            f"{sum(self.lost.values())} cells in flight, {self.half_written} half-written files, {self.seconds:.0f} s"
        )


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A folder of results, the log of what was executed, and the cells that are asked for."""

    folder: Path
    cells: int
    seed: int = 0
    slow: float = 0.0
    """Seconds that every cell sleeps; 0: some sleep a little, some fail, some die."""

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def arguments(self) -> list[str]:
        """What `main` takes."""
        return list(map(str, (self.results, self.log, self.cells, self.seed, self.slow)))

    def command(self) -> list[str]:
        return [sys.executable, str(Path(__file__).resolve()), *self.arguments]

    def start(self, *prefix: str, **options: object) -> subprocess.Popen[str]:
        """Start a driver in a session of its own; its output goes to a pipe."""
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            [*prefix, *self.command()],
            env=environment(),
            cwd=ROOT,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def executed(self) -> list[str]:
        """Return the cells in the order in which their processes started."""
        if not self.log.exists():
            return []
        return [line.split()[0] for line in self.log.read_text().splitlines()]

    def recorded(self) -> set[str]:
        """Return the cells that have a record."""
        return {path.stem for path in self.results.rglob("*.json")}

    def hidden(self) -> list[Path]:
        """Return temporary files and locks."""
        return [path for path in self.results.rglob(".*") if path.is_file()]

    def wait_for(self, count: int, driver: subprocess.Popen[str], seconds: float = 60.0) -> None:
        """Wait until so many cells were started or the driver ended."""
        deadline = time.monotonic() + seconds
        while len(self.executed()) < count and driver.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{count} cells were not started in {seconds} s")
            time.sleep(0.005)


def environment() -> dict[str, str]:
    """Return the environment of a driver."""
    path = os.pathsep.join(map(str, (ROOT, TESTS / "bench", TESTS / "bench" / "run", TESTS / "soak")))
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def survivors(session: int) -> list[int]:
    """Return the living processes that a driver, the leader of that session, started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # After the command in parentheses: state, parent, group, session.
            state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # ended meanwhile
        if int(of) == session and state not in "ZX":
            found.append(int(entry.name))
    return found


def assert_nobody_is_left(session: int, seconds: float = 10.0) -> None:
    """Wait until all processes of a driver are gone."""
    deadline = time.monotonic() + seconds
    while left := survivors(session):
        if time.monotonic() > deadline:
            raise AssertionError(f"processes {left} outlived their driver by {seconds} s")
        time.sleep(0.01)


def end(driver: subprocess.Popen[str], number: signal.Signals) -> None:
    """End a driver: Ctrl-C reaches the whole group of a terminal, the others one process."""
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)
    else:
        os.kill(driver.pid, number)
    driver.communicate(timeout=120)
    assert_nobody_is_left(driver.pid)


def torment(sweep: Sweep, kills: int) -> Account:
    """Run a sweep to its end, whose drivers are ended `kills` times, and keep account."""
    chance = random.Random(sweep.seed)
    account, began = Account(cells=sweep.cells), time.monotonic()
    for left in range(kills, 0, -1):
        before, done = len(sweep.executed()), len(sweep.recorded())
        driver = sweep.start()
        if chance.random() < 0.15:
            time.sleep(chance.uniform(0.05, 1.5))  # anywhere in its start
        else:
            count = chance.randint(1, max(1, 2 * (sweep.cells - done) // (left + 2)))
            sweep.wait_for(before + count, driver)
            time.sleep(chance.uniform(0.0, 0.06))  # anywhere in a cell, or in writing its record
        assert driver.poll() is None, f"seed {sweep.seed}: a driver ended by itself: {driver.communicate()[1]}"
        number = chance.choices(list(SIGNALS), list(SIGNALS.values()))[0]
        end(driver, number)
        account.kills[number.name] += 1
        started, recorded = sweep.executed()[before:], sweep.recorded()
        lost = [cell for cell in started if cell not in recorded]
        assert len(lost) <= 1, f"seed {sweep.seed}: one process a time, yet {lost} were in flight at a kill"
        account.lost.update(lost)
        account.starting += not started
        account.half_written += sum(path.suffix == ".tmp" for path in sweep.hidden())
    last = sweep.start()
    _, errors = last.communicate(timeout=600)
    assert not errors, errors
    account.exit_code = last.returncode
    assert_nobody_is_left(last.pid)
    account.seconds = time.monotonic() - began
    return account


def plan(sweep_cells: int, seed: int, slow: float, log: Path) -> list[object]:
    """Return the cells of a sweep, the same for the same seed."""
    from cheap_runners import cell, light

    chance, cells = random.Random(seed), []
    for number in range(sweep_cells):
        what = f"sleep:{slow or chance.uniform(0.0, 0.06)}"
        if not slow:
            what = chance.choices([what, "fine", "raise", "killed", "noisy"], [70, 20, 4, 2, 4])[0]
        one = cell(what, number, log=log)
        cells.append(light(one) if what == "fine" else one)
    return cells


def main(arguments: list[str]) -> int:
    """Run a sweep as the command line does: results, log, number of cells, seed, seconds a cell."""
    import typer
    from cheap_runners import run

    from bench.command_line import for_people

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
    results, log = Path(arguments[0]), Path(arguments[1])
    try:
        with for_people():
            summary = run(plan(int(arguments[2]), int(arguments[3]), float(arguments[4]), log), results)
    except typer.Exit as ended:
        return ended.exit_code
    return int(summary.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
