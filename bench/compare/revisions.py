"""Time two git revisions against each other: each in processes of its own, in rounds that take turns.

The revisions are unpacked into a temporary folder; the repository and its working tree stay as they are.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.compare.samples import Sample
from bench.run.isolation import ROOT, scrub
from bench.sweep.complaints import ConfigError

WORKER = Path(__file__).with_name("revision_worker.py")
PAUSE = 0.02
"""Seconds between two turns: threads of the previous process keep spinning for a while."""
DEFAULT_CELLS = ("r0-batch1", "r20-batch1", "r40-batch1")
"""Cells that are timed by default."""
WARMUP = 2
"""Iterations of every cell in a fresh process that are not counted."""
ANSWER_SECONDS = 300.0
"""Seconds without an answer after which a revision's process is killed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is timed, and how often."""

    cells: tuple[tuple[int, int], ...]
    """Tokens removed per block and clips per batch."""
    launches: int = 8
    """Pairs of processes: the placement of code and memory makes a process faster or slower for all its life, so that
    launches are the samples. Three cells need seven."""
    rounds: int = 4
    """Rounds of each pair of processes, of which the median counts."""
    iterations: int = 3
    """Iterations of a round, of which the median counts."""
    model: str = "ast_tiny"
    frames: int = 512
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("launches", "rounds", "iterations", "frames", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError([f"compare: {name} is {getattr(self, name)}; it must be at least 1"])


def is_revision(text: str) -> bool:
    """Return whether git knows `text` as a commit of this repository."""
    return not text.startswith("-") and _git("rev-parse", "--verify", "--quiet", f"{text}^{{commit}}") is not None


def time_revisions(
    a: str, b: str, plan: Plan, machine: str
) -> tuple[dict[tuple[str, str], Sample], dict[tuple[str, str], Sample]]:
    """Return the samples of both revisions. Raises ConfigError with a revision's error where it cannot run."""
    launched: dict[str, dict[tuple[int, int], list[float]]] = {side: {cell: [] for cell in plan.cells} for side in "AB"}
    torch_version = ""
    with tempfile.TemporaryDirectory(prefix="fastast-compare-") as folder:
        checkouts = {side: _unpack(revision, Path(folder) / side) for side, revision in (("A", a), ("B", b))}
        for launch in range(plan.launches):
            with ExitStack() as stack:
                workers = {side: stack.enter_context(_worker(checkouts[side], plan, side)) for side in "AB"}
                torch_version = workers["A"].torch
                for cell in plan.cells:
                    for side in "AB":
                        workers[side].ask(*cell, WARMUP)
                    rounds: dict[str, list[float]] = {"A": [], "B": []}
                    for i in range(plan.rounds):
                        for side in "AB" if (i + launch) % 2 == 0 else "BA":
                            time.sleep(PAUSE)
                            rounds[side].append(statistics.median(workers[side].ask(*cell, plan.iterations)))
                    for side in "AB":
                        launched[side][cell].append(statistics.median(rounds[side]))
    sides = [
        {
            (machine, f"r{r}-batch{batch}"): Sample(
                title=f"{plan.model} r={r} batch {batch}, {plan.frames} frames",
                machine=machine,
                rounds=tuple(launched[side][r, batch]),
                of_launches=True,
                software=torch_version,
            )
            for r, batch in plan.cells
        }
        for side in "AB"
    ]
    return sides[0], sides[1]


class Worker:
    """A process that times one revision on request."""

    def __init__(self, process: subprocess.Popen[str], errors: Any, side: str) -> None:
        self._process, self._errors, self._side = process, errors, side
        self.torch: str = self._read()["torch"]

    def ask(self, r: int, batch: int, iterations: int) -> list[float]:
        """Return the seconds of each of the iterations asked for."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{r} {batch} {iterations}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended; reading says why
        seconds: list[float] = self._read()["seconds"]
        return seconds

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        watchdog = threading.Timer(ANSWER_SECONDS, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines()[-1:] or [f"exit code {code}"]
        raise ConfigError([f"compare: revision {self._side} cannot be timed: {scrub(last[0])}"])


@contextmanager
def _worker(checkout: Path, plan: Plan, side: str) -> Iterator[Worker]:
    command = [sys.executable, str(WORKER), str(checkout), plan.model, str(plan.frames), str(plan.threads), plan.device]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=checkout
        )
        try:
            yield Worker(process, errors, side)
        finally:
            process.kill()
            process.communicate()


def _unpack(revision: str, folder: Path) -> Path:
    """Write `fastast` of a revision to a folder, and return the folder."""
    archive = _git("archive", "--format=tar", revision, "--", "fastast")
    if archive is None:
        raise ConfigError([f"compare: {revision} is not a commit of this repository that has the package fastast"])
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def _git(*arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def parse_cells(texts: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Read cells written `r40-batch1`. Raises ConfigError for another form."""
    cells = []
    for text in texts:
        r, separator, batch = text.removeprefix("r").partition("-batch")
        if not (separator and r.isdecimal() and batch.isdecimal() and int(batch)):
            raise ConfigError([f"compare: --cell {text!r} is not a cell; write tokens removed and clips as r40-batch1"])
        cells.append((int(r), int(batch)))
    return tuple(cells)
