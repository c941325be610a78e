"""A disk that fails at its n-th change: processes that are forked, and what became of each.

The shim (`shim.c`) is loaded before Python starts; `load` says how.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
PRELOADED = "FASTAST_FAULT_SHIM"
"""Names the library in the environment of a process that has it loaded."""
FAULTS = {"killed before": 1, "killed after": 2, "disk full": 3, "I/O error": 4, "short write": 5, "torn write": 6}
"""What can be made of a change, as the shim numbers it."""
GROWS = ("open", "write", "mkdir")
"""Calls that a full disk refuses."""


def compiler() -> str | None:
    """Return the C compiler, None where there is none."""
    return shutil.which("cc") or shutil.which("gcc")


def build(folder: Path) -> Path:
    """Compile the shim into a folder."""
    library = folder / "shim.so"
    command = [str(compiler()), "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "shim.c"), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def environment(library: Path) -> dict[str, str]:
    """Return the environment of a process that has the shim loaded."""
    return os.environ | {"LD_PRELOAD": str(library), PRELOADED: str(library), "OMP_NUM_THREADS": "1"}


@cache
def _shim() -> ctypes.CDLL:
    return ctypes.CDLL(os.environ[PRELOADED])


@dataclass(frozen=True, kw_only=True)
class Change:
    """A call that changed what is on the disk."""

    call: str
    path: str
    """Below the folder of the scenario."""
    to: str
    """Of a rename, its target."""

    def allows(self, fault: str) -> bool:
        """Return whether a fault can happen to it."""
        if fault == "disk full":
            return self.call in GROWS
        return self.call == "write" or fault not in ("short write", "torn write")


@dataclass(frozen=True, kw_only=True)
class End:
    """How a process ended."""

    killed: bool
    error: str
    """The exception in one line, empty where there was none."""
    expected: bool
    """Whether what it raised is meant for people: an OSError, or a ValueError of ours."""


def forked(folder: Path, act: Callable[[Path], None], *, at: int = 0, fault: str = "") -> tuple[End, list[Change]]:
    """Run `act` in a forked process whose `at`-th change below `folder` fails; return how it ended and its changes."""
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as log:
        child = os.fork()
        if not child:
            os.close(reader)
            code = 70
            try:
                _shim().fault_arm(os.fsencode(folder), at, FAULTS.get(fault, 0), log.fileno())
                try:
                    act(folder)
                    code = 0
                except Exception as error:
                    _shim().fault_disarm()
                    code = 3 if isinstance(error, OSError | ValueError) else 4
                    shown = (
                        "".join(traceback.format_exception(error)) if code == 4 else f"{type(error).__name__}: {error}"
                    )
                    os.write(writer, shown.encode(errors="replace")[:60_000])
            finally:
                os._exit(code)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read().decode(errors="replace")
        status = os.waitpid(child, 0)[1]
        log.seek(0)
        lines = log.read().decode().splitlines()
    changes = [Change(call=call, path=path, to=to) for call, path, to in (line.split("\t") for line in lines)]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"ended by signal {os.WTERMSIG(status)}"
        return End(killed=True, error="", expected=True), changes
    code = os.WEXITSTATUS(status)
    assert code in (0, 3, 4), f"exit code {code}: {said}"
    return End(killed=False, error=said, expected=code != 4), changes
