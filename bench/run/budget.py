"""A time limit for a run: for rented machines, cluster jobs and CI."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.sweep.cells import Cell
from bench.sweep.complaints import ConfigError

MARGIN = 1.25
"""Expected time of a cell, as a multiple of the longest time of its kind so far."""
START_S = 20.0
"""Seconds that a cell takes beyond those its sweep sets: start of its process, its model, gates and first calls."""
UNKNOWN_S = 60.0
"""Seconds that a quality cell is expected to take until one has been measured."""


def seconds_of_this_process() -> float:
    """Return the age of this process: a command's time counts from its start, imports included."""
    with suppress(OSError, AttributeError, ValueError, IndexError):
        # In ticks since boot, which is exact; the time of boot, needed for a wall-clock start, is rounded to a second.
        began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    import psutil

    return max(0.0, time.time() - float(psutil.Process().create_time()))


class Budget:
    """A run's limit of `minutes`, of which `used` seconds have passed already."""

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic, *, used: float = 0.0) -> None:
        """Raises ConfigError unless `minutes` is a finite number above 0."""
        if not (0 < minutes < math.inf):
            raise ConfigError([f"--minutes {minutes:g}: give a number above 0"])
        self._now = now
        self._end = now() + 60 * minutes - used
        self._longest: dict[tuple[object, ...], float] = defaultdict(float)

    def left(self) -> float:
        """Return the seconds left, at least 0."""
        return max(0.0, self._end - self._now())

    def allows(self, cell: Cell) -> bool:
        """Return whether a cell that starts now is expected to end in time."""
        return self.expected(cell) <= self.left()

    def expected(self, cell: Cell) -> float:
        """Return the seconds that a cell is expected to take.

        `MARGIN` times the longest of its kind so far, or else of any performance or quality cell. Before the first one:
        for performance halfway between the least and the most that the sweep allows, for quality `UNKNOWN_S`.
        """
        known = self._longest.get(_kind(cell)) or max(
            (seconds for kind, seconds in self._longest.items() if kind[0] == cell.kind), default=0.0
        )
        if known:
            return MARGIN * known
        if cell.data is not None:
            return UNKNOWN_S
        measure, arms = cell.measure, 1 + len(cell.measure.baselines)
        rounds = (measure.min_seconds + measure.max_seconds) / 2
        return START_S + rounds + arms * (measure.warmup_seconds / 2 + measure.energy_seconds)

    def took(self, cell: Cell, seconds: float) -> None:
        """Note how long a cell took."""
        kind = _kind(cell)
        self._longest[kind] = max(self._longest[kind], seconds)


def _kind(cell: Cell) -> tuple[object, ...]:
    """Return the settings that a cell's time depends on most."""
    return cell.kind, cell.model.engine, cell.batch_size, cell.dtype, cell.measure.scope, cell.device
