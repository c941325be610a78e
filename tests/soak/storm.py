"""A sweep of cheap cells on three kinds of launchers, in weather of `weather.c`: a driver, and what happens to it.

`python storm.py RESULTS LOG CELLS SEED FIRST LAST PLACE` is a driver: it runs cells FIRST to LAST of the sweep, here
(`local`), on a cluster of Ray (`ray:ADDRESS`), or as jobs of the stand-in for Slurm (`slurm:FOLDER`). All write to one
folder, as everything here is one machine.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from soak_runners import ROOT, TESTS, environment, plan, survivors

HERE = Path(__file__).parent


class Weather:
    """What drivers see of the clock and of the disk; without a C compiler it stays as it is."""

    def __init__(self, folder: Path, results: Path) -> None:
        self._results, self._file, self.library = results, folder / "weather", folder / "weather.so"
        self._file.write_bytes(bytes(16))
        with self._file.open("r+b") as file:
            self._there = mmap.mmap(file.fileno(), 16)
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(self.library), str(HERE / "weather.c"), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)

    def set(self, *, offset_s: int = 0, read_only: bool = False) -> None:
        """Let the clock be wrong by so many seconds, and the results read-only, from now on."""
        self._there[:] = struct.pack("qq", offset_s, read_only)

    def environment(self) -> dict[str, str]:
        """Return the variables of a driver that lives in it."""
        return {
            "LD_PRELOAD": str(self.library),
            "FASTAST_WEATHER": str(self._file),
            "FASTAST_WEATHER_ROOT": str(self._results),
        }


@dataclass(kw_only=True)
class Storm:
    """A sweep, and what happened to it."""

    folder: Path
    cells: int
    seed: int
    weather: Weather | None
    kills: Counter[str] = field(default_factory=Counter)
    """By what was killed."""
    lost: Counter[str] = field(default_factory=Counter)
    """Executions that a kill cost: cells that were started, and had no record when their driver was gone."""
    refused: int = 0
    """Second drivers that were refused."""
    read_only: int = 0
    """Drivers that ended, or did not begin, as their folder was read-only."""
    jumps: int = 0
    """Of the clock."""
    begun: dict[int, int] = field(default_factory=dict)
    """By driver, how many cells were started before it."""

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self, first: int, last: int, place: str = "local") -> subprocess.Popen[str]:
        """Start a driver of some cells in a session of its own."""
        arguments = (self.results, self.log, self.cells, self.seed, first, last, place)
        before = len(self.executed())
        driver = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *map(str, arguments)],
            env=environment() | (self.weather.environment() if self.weather else {}),
            cwd=ROOT,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.begun[driver.pid] = before
        return driver

    def executed(self) -> list[tuple[str, int]]:
        """Return the cells and their processes, in the order in which they started."""
        if not self.log.exists():
            return []
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [(cell, int(process)) for cell, process in lines]

    def recorded(self) -> set[str]:
        """Return the cells that have a record."""
        return {path.stem for path in self.results.rglob("*.json")}

    def hidden(self) -> list[Path]:
        """Return temporary files and locks."""
        return [path for path in self.results.rglob(".*") if path.is_file()]

    def wait_for(self, count: int, driver: subprocess.Popen[str], seconds: float = 600.0) -> bool:
        """Wait until so many cells were started; return whether the driver is still there."""
        deadline = time.monotonic() + seconds
        while len(self.executed()) < count and driver.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"seed {self.seed}: {count} cells were not started in {seconds} s")
            time.sleep(0.01)
        return driver.poll() is None

    def kill_driver(self, driver: subprocess.Popen[str], number: signal.Signals) -> None:
        """End a driver, Ctrl-C as a terminal does it, and note what was in flight."""
        if number == signal.SIGINT:
            os.killpg(driver.pid, number)
        else:
            os.kill(driver.pid, number)
        self.kills["driver"] += 1
        driver.communicate(timeout=600)
        self.note_lost(driver)

    def note_lost(self, driver: subprocess.Popen[str]) -> None:
        """Note which executions the end of a driver cost, once its processes are gone."""
        self.settle(driver)
        recorded, started = self.recorded(), self.executed()[self.begun[driver.pid] :]
        self.lost.update({cell for cell, _ in started if cell not in recorded})

    def settle(self, driver: subprocess.Popen[str], seconds: float = 300.0) -> None:
        """Wait until all processes of a driver that is gone are gone too."""
        deadline = time.monotonic() + seconds
        while left := survivors(driver.pid):
            if time.monotonic() > deadline:
                raise AssertionError(f"seed {self.seed}: processes {left} outlived their driver by {seconds} s")
            time.sleep(0.02)

    def kill_worker(self) -> bool:
        """Kill the process of the cell that started last; return whether it was still there."""
        if not (executed := self.executed()):
            return False
        try:
            os.kill(executed[-1][1], signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.kills["worker"] += 1
        return True

    def kill_server(self, driver: subprocess.Popen[str]) -> bool:
        """Kill the server that a driver's processes are forked from; return whether there was one."""
        for process in survivors(driver.pid):
            try:
                command = Path(f"/proc/{process}/cmdline").read_bytes()
                parent = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if b"forkserver" in command and parent == driver.pid:
                os.kill(process, signal.SIGKILL)
                self.kills["fork server"] += 1
                return True
        return False

    def jump(self, chance: random.Random) -> None:
        """Set the clock of all drivers, now and from now on, by up to ten days wrong."""
        if self.weather:
            self.weather.set(offset_s=chance.randint(-864_000, 864_000))
            self.jumps += 1


def main(arguments: list[str]) -> int:
    """Be a driver."""
    import typer

    from bench.command_line import for_people
    from bench.run.driver import Options, run_sweep
    from bench.run.isolation import Isolation
    from bench.run.launchers import Runners
    from bench.run.launchers.local import LocalLauncher
    from bench.run.progress import Progress

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
    results, log = Path(arguments[0]), Path(arguments[1])
    cells = plan(int(arguments[2]), int(arguments[3]), 0.0, log)[int(arguments[4]) : int(arguments[5])]
    cache = results.parent / "cache"
    kind, _, where = arguments[6].partition(":")
    runners = Runners(probe="cheap_runners:probe", prepare="cheap_runners:prepare", answer="cheap_runners:answer")
    try:
        with for_people():
            if kind == "ray":
                from bench.run.launchers.ray_cluster import RayLauncher

                launcher = RayLauncher(address=where, cache=cache, runners=runners, wait_s=120)
            elif kind == "slurm":
                from bench.run.launchers.slurm import SlurmLauncher
                from bench.run.launchers.slurm_config import Place, SlurmConfig

                settings = SlurmConfig(folder=where, cluster="local", cells_per_job=20, devices={"cpu": Place()})
                launcher = SlurmLauncher(settings, cache=cache, poll_s=0.2, runners=runners)
            else:
                preload = ("bench.sweep.cells", "bench.cell.answers")
                launcher = LocalLauncher(Isolation(preload=preload), runners)
            with Progress() as progress, launcher:
                options = Options(results=results, cache=cache)
                summary = run_sweep("cheap", cells, options, progress=progress, launcher=launcher)
    except typer.Exit as ended:
        return ended.exit_code
    return int(summary.failed)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(TESTS / "bench")]
    sys.exit(main(sys.argv[1:]))
