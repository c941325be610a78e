"""The processors that this process may use: their name, its affinity, and the quota of its container."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

OWN_GROUPS, CONTROL_GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""Where Linux lists the control groups of this process, and where they are usually mounted."""
PROCESSORS = Path("/proc/cpuinfo")
"""Where Linux describes the processors."""


def processor_name() -> str:
    """Return the processor's own name; virtual machines use the same name for processors of several generations."""
    with suppress(OSError, UnicodeDecodeError):
        found = re.search(r"^model name\s*:\s*(.+)$", PROCESSORS.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine() or "unknown"


def processor_generation() -> str | None:
    """Return the family, model and stepping of an x86 processor, such as `25.17.1`; None if they are unknown."""
    found = []
    with suppress(OSError, UnicodeDecodeError):
        text = PROCESSORS.read_text(encoding="utf-8")
        for name in ("cpu family", "model", "stepping"):
            line = re.search(rf"^{name}\s*:\s*(\d+)$", text, re.MULTILINE)
            found += [line.group(1)] if line else []
    return ".".join(found) if len(found) == 3 else None


def affinity() -> int:
    """Return the number of logical processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(proc: Path = OWN_GROUPS, root: Path = CONTROL_GROUPS) -> float | None:
    """Return the CPU time that this process's control groups allow, in processors; None without a limit.

    Both versions of Linux control groups are read; the tightest limit among a group and its parents counts.
    """
    quotas = [quota for folder in control_groups(proc, root) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def most_threads() -> int:
    """Return how many threads can run at once; more would only wait for each other."""
    quota = cpu_quota()
    return affinity() if quota is None else max(1, min(affinity(), math.ceil(quota)))


def usable_threads() -> int:
    """Return the best number of threads for one operation: the physical cores, limited by affinity and quota."""
    import psutil

    quota = cpu_quota()
    cores = psutil.cpu_count(logical=False) or affinity()
    return max(1, min(affinity(), cores, math.floor(quota) if quota is not None else cores))


def control_groups(proc: Path = OWN_GROUPS, root: Path = CONTROL_GROUPS) -> Iterator[Path]:
    """Yield the folders of this process's control groups for CPU time, from its own up to the root.

    Some may not exist: inside a container, the process's own group may be the root, whatever `proc` says.
    """
    try:
        lines = [line.split(":", 2) for line in proc.read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return
    for parts in lines:
        if len(parts) != 3:
            continue
        controllers, inside = parts[1].split(","), parts[2].strip("/")
        if controllers == [""]:  # version 2, alone or together with version 1
            tops = [root, root / "unified"]
        elif "cpu" in controllers:
            tops = [root / "cpu", root / ",".join(controllers)]
        else:
            continue
        for top in tops:
            folder = top / inside
            yield from (folder, *(up for up in folder.parents if up.is_relative_to(top)))


def _quota_of(folder: Path) -> float | None:
    with suppress(OSError, ValueError):
        allowed, period = (folder / "cpu.max").read_text().split()
        return None if allowed == "max" else int(allowed) / int(period)
    with suppress(OSError, ValueError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
    return None
