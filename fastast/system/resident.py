"""Resident memory of this process, as Linux accounts for it."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Literal

_STATUS = Path("/proc/self/status")


def resident_bytes(entry: Literal["VmRSS", "VmHWM"]) -> int:
    """Return the current resident set (`VmRSS`) or the largest so far (`VmHWM`), in bytes.

    Raises OSError on other systems than Linux.
    """
    for line in _STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {entry}")


def peak_resident_bytes() -> int:
    """Return the largest resident set of this process so far, in bytes.

    Where Linux does not tell it, use getrusage, which also counts what the process that started this one had.
    """
    try:
        return resident_bytes("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
