"""Log a run: one line of JSON per event, TensorBoard if installed, and a progress bar or lines on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastast.finite import is_number
from fastast.system.progress import make_bar
from fastast.system.writing import write_whole
from fastast.training.distributed import World
from fastast.training.run_folder.checkpoint import ResumeError


class RunLog:
    """The log of a run; only the first process writes it."""

    def __init__(self, folder: Path, world: World, *, total_steps: int, step: int, quiet: bool = False) -> None:
        """Open the log at a step; lines of later steps, written by a run that was killed, are removed."""
        self._active = world.leads
        self._quiet = quiet or not world.leads
        self._bar: Any = None
        if not self._active:
            return
        self._path = folder / "log.jsonl"
        _take_back(self._path, step)
        self._file = self._path.open("a", encoding="utf-8")
        self._board = _board(folder / "tensorboard", step)
        if self._board is None and not self._quiet:
            print(
                "TensorBoard is not installed (pip install tensorboard): log.jsonl still has everything",
                file=sys.stderr,
            )
        if not self._quiet and sys.stderr.isatty():
            self._bar = make_bar("training", total_steps, step)
            self._bar.start()

    def event(self, kind: str, step: int, **values: Any) -> None:
        """Write an event; its numbers also go to TensorBoard, if installed, as `kind/name`.

        Raises OSError, naming the file, if it cannot be written.
        """
        if not self._active:
            return
        try:
            self._file.write(json.dumps({"event": kind, "step": step, **plain(values)}) + "\n")
            self._file.flush()
        except OSError as error:  # it does not name the file
            with suppress(OSError):
                self._file.close()  # closing writes the rest, and may fail again
            what = f"{error.strerror or error}: the run stopped after step {step}; make room, and resume with --resume"
            raise OSError(error.errno, what, str(self._path)) from None
        for name, value in values.items():
            if self._board is not None and is_number(value):
                self._board.add_scalar(f"{kind}/{name}", value, step)
        if not self._quiet:
            self._say(kind, step, values)

    def advance(self, step: int) -> None:
        """Move the progress bar to a step."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step)

    def close(self) -> None:
        """Close files and progress bar."""
        if not self._active:
            return
        if self._bar is not None:
            self._bar.stop()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _say(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        words = [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in values.items()
            if value != ""
        ]
        line = f"step {step}  {kind}  " + "  ".join(words)
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


def _board(folder: Path, step: int) -> Any:
    """Return a TensorBoard writer that continues at a step; None if TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with those that are not finite, which JSON lacks, as None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the events of a run, without a last line that a kill cut short.

    Raises ResumeError, naming file and line, if any other line is not an event.
    """
    path = folder / "log.jsonl"
    lines = path.read_bytes().split(b"\n")  # `splitlines` would also split at separators that names may contain
    events = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("step"), int) or "event" not in event:
            raise ResumeError(
                f"{path}: line {number} is not an event of a run, {line[:40]!r}: the log is damaged; remove the line, "
                "or move the file away: the run then resumes without its history"
            )
        events.append(event)
    return events


def _take_back(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [event for event in read_log(path.parent) if event["step"] <= step]
    write_whole(path, "".join(json.dumps(event) + "\n" for event in kept).encode())
