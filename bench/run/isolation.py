"""Run a function in a process of its own: a crash, a hang or running out of memory is an outcome and spares the caller.

Processes are forked from a server that has loaded the heavy modules once (`forkserver`); where the system lacks that,
they start from scratch (`spawn`). A process ends with its caller, however the caller ends.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from bench.measure.memory import is_out_of_memory
from bench.records.schema import Status
from fastast.system.workers import end_with_parent

ROOT = Path(__file__).resolve().parents[2]
"""Root folder of the repository."""
_SERVER_GONE = 255
"""Exit code that `multiprocessing` reports for a process whose server died first."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a function in its own process ended."""

    status: Status
    """`ok`, `error`, `oom` or `timeout`."""
    value: Any = None
    """Return value of the function."""
    message: str = ""
    """What went wrong, without paths of this machine."""


class Isolation:
    """Runs functions one at a time, each in a fresh process."""

    def __init__(self, preload: tuple[str, ...] = ("bench.cell.worker",)) -> None:
        """`preload` names the modules that the server loads before the first process."""
        methods = multiprocessing.get_all_start_methods()
        self._context: BaseContext = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        self._preload = list(preload) if "forkserver" in methods else None
        self._ensure_server()

    def _ensure_server(self) -> None:
        """Start the server unless it is running: whatever killed an earlier one is no reason to end a run."""
        if self._preload is None:
            return
        from multiprocessing import forkserver

        with _environment(PYTHONPATH=_with_root(), KINETO_LOG_LEVEL="99"):  # or the profiler writes to stderr
            forkserver.set_forkserver_preload(self._preload)
            forkserver.ensure_running()

    def run(self, function: str, *args: Any, time_limit: float | None = None) -> Outcome:
        """Call `function`, written `module:name`, in a process and wait for it, at most `time_limit` seconds.

        Only that process imports the module. Whatever interrupts the wait ends the process first.
        """
        receiver, sender = self._context.Pipe(duplex=False)
        lifeline, held = self._context.Pipe(duplex=False)  # nothing is ever sent: it closes when this process ends
        process = self._start(sender, lifeline, function, args)
        sender.close()
        lifeline.close()
        try:
            return self._wait(process, receiver, time_limit)
        finally:
            process.kill()
            process.join()
            process.close()
            receiver.close()
            held.close()

    def _start(self, *args: Any) -> Any:
        """Return a started process, from a new server if the old one is killed at that very moment."""
        for left in (2, 1, 0):
            self._ensure_server()
            process = self._context.Process(target=_child, args=args, daemon=True)  # type: ignore[attr-defined]
            try:
                process.start()
                return process
            except (ConnectionError, EOFError):
                if not left:
                    raise
        raise AssertionError

    def _wait(self, process: Any, receiver: connection.Connection, time_limit: float | None) -> Outcome:
        deadline = None if time_limit is None else time.monotonic() + time_limit
        remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = connection.wait([receiver, process.sentinel], remaining)
        if not ready:
            return _late(time_limit)
        if receiver not in ready:
            process.join()
        if receiver in ready or receiver.poll() or process.exitcode == _SERVER_GONE:
            # A killed server cannot say how its process ended; that process lives on and may still answer.
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not receiver.poll(remaining):
                return _late(time_limit)
            try:
                outcome: Outcome = receiver.recv()
                return outcome
            except (EOFError, OSError):  # it was killed before it answered, or while it did
                process.join()
        return Outcome(status="error", message=_death(process.exitcode))


def _late(time_limit: float | None) -> Outcome:
    return Outcome(status="timeout", message=f"took longer than the time limit of {time_limit:g} s")


def scrub(text: str) -> str:
    """Return `text` on one line, without the folders of this machine."""
    return " ".join(without_folders(text).split())


def without_folders(text: str) -> str:
    """Return `text` with short names for the repository, the working folder and the home folder."""
    for folder, name in ((str(ROOT), "."), (str(Path.cwd()), "."), (str(Path.home()), "~")):
        if len(folder) > 1:
            text = text.replace(folder, name)
    return text


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
        hint = "; SIGKILL comes from `kill -9` or from a system that ran out of memory" if name == "SIGKILL" else ""
        return f"the cell's process was ended by signal {-code} ({name}){hint}"
    return f"the cell's process ended with exit code {code} and no answer"


def _child(
    sender: connection.Connection, lifeline: connection.Connection, function: str, args: tuple[Any, ...]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller decides
    _die_with(lifeline)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        module, _, name = function.partition(":")
        outcome = Outcome(status="ok", value=getattr(import_module(module), name)(*args))
    except Exception as error:
        outcome = Outcome(status="oom" if is_out_of_memory(error) else "error", message=_describe(error))
    sender.send(outcome)


def _die_with(lifeline: connection.Connection) -> None:
    """Let the system end this process by SIGIO when the other end of a pipe closes.

    The thread that watches the caller cannot run while an extension holds the interpreter's lock.
    """
    descriptor = lifeline.fileno()
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)


def _describe(error: BaseException) -> str:
    """Return an error's class, its text and the innermost line of this repository in its traceback."""
    place = ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and "site-packages" not in path.parts:
            place = f" ({path.relative_to(ROOT).as_posix()}:{frame.lineno})"
            break
    return scrub(f"{type(error).__name__}: {error}{place}")


def _with_root() -> str:
    """Return a PYTHONPATH by which the server finds the repository: before Python 3.12.8 it does not keep sys.path."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for the processes that start inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
