"""Run steps one by one within some minutes: a failed step stops no other, and the archive says how each ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bench.gpu.steps import ROOT, Step
from bench.run.budget import Budget
from bench.run.isolation import without_folders
from bench.run.progress import duration
from bench.run.recording import describe_suite
from fastast.system.writing import write_whole

GRACE_S = 10.0
"""Seconds by which a step that limits itself must end before it would be interrupted."""
LAST_WORDS_S = 30.0
"""Seconds that an interrupted step has to report how far it got: pytest names failures once its workers have ended."""
LEAST_S = 15.0
"""Least time limit in seconds with which a step is started."""
PARTS = ("session.json", "logs", "profiles", "results")
"""Files and folders that go into the archive."""

StepStatus = Literal["ok", "failed", "timeout", "left"]


@dataclass(frozen=True, kw_only=True)
class StepEnd:
    """How a step ended."""

    name: str
    command: tuple[str, ...]
    status: StepStatus = "left"
    """`failed`: non-zero exit code. `timeout`: interrupted, its time was up. `left`: not started for lack of time."""
    exit_code: int | None = None
    seconds: float = 0.0
    last: str = ""
    """Last non-empty line of its log."""


def archive_of(folder: Path) -> Path:
    """Return the path of a folder's archive, which is next to the folder and has its name."""
    return folder.with_name(f"{folder.name}.tar.gz")


def run_session(
    steps: Sequence[Step],
    folder: Path,
    minutes: float,
    *,
    rehearsal: bool = False,
    say: Callable[[str], None] = print,
    now: Callable[[], float] = time.monotonic,
) -> tuple[StepEnd, ...]:
    """Run the steps in order and return how they ended; the archive is rewritten before each step and at the end.

    However the session ends, even by Ctrl-C, it leaves an archive. Raises ConfigError unless `minutes` is a finite
    number above 0, and OSError where files cannot be written.
    """
    budget = Budget(minutes, now)
    about = {"rehearsal": rehearsal, "minutes": minutes, "suite": describe_suite().model_dump()}
    ends = [StepEnd(name=step.name, command=_shown(step)) for step in steps]
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    try:
        for i, step in enumerate(steps):
            save(folder, about, ends)
            limit = budget.left() * step.share / sum(other.share for other in steps[i:])
            where = f"{i + 1}/{len(steps)} {step.name}"
            if limit < LEAST_S:
                say(f"{where}: left out, as there is no time for it")
                continue
            say(f"{where}: at most {duration(limit)}")
            ends[i] = end = _run(step, ends[i], folder / "logs" / f"{step.name}.log", limit)
            code = f" (exit code {end.exit_code})" if end.status == "failed" else ""
            say(f"{where}: {end.status}{code} after {duration(end.seconds)}: {end.last}")
    finally:
        save(folder, about, ends)
    return tuple(ends)


def save(folder: Path, about: Mapping[str, Any], ends: Sequence[StepEnd]) -> None:
    """Write `session.json` and the archive, each replaced only once it is complete."""
    text = json.dumps({**about, "steps": [asdict(end) for end in ends]}, indent=2)
    write_whole(folder / "session.json", (text + "\n").encode())
    part = folder.with_name(f"{folder.name}.tmp")
    with tarfile.open(part, "w:gz") as archive:
        for name in PARTS:
            if (folder / name).exists():
                archive.add(folder / name, f"{folder.name}/{name}", filter=_anonymous)
    os.replace(part, archive_of(folder))


def _run(step: Step, end: StepEnd, log: Path, limit: float) -> StepEnd:
    own = ("--minutes", f"{(limit - GRACE_S) / 60:.3f}") if step.limits_itself else ()
    started, ended = time.monotonic(), False
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, *step.arguments, *own],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            ended = True
            process.send_signal(signal.SIGINT)  # on SIGTERM, pytest would end without reporting what failed
            with suppress(subprocess.TimeoutExpired):
                process.wait(LAST_WORDS_S)
        finally:
            _end(process)
    text = without_folders(log.read_text(encoding="utf-8", errors="replace"))
    log.write_text(text, encoding="utf-8")
    code = process.returncode
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    seconds = round(time.monotonic() - started, 1)
    status: StepStatus = "timeout" if ended else "ok" if code == 0 else "failed"
    return replace(end, status=status, exit_code=code, seconds=seconds, last=last)


def _shown(step: Step) -> tuple[str, ...]:
    return ("python", *map(without_folders, step.arguments))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, if it still runs, and those that it started: ours end with their caller."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Remove a file's owner, and leave out lock files and temporary files."""
    if member.name.endswith((".lock", ".tmp")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
