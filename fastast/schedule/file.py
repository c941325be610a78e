"""Schedule files: what `fastast tune` writes, and what may be given wherever a schedule may.

A TOML file whose table [reduction] has a schedule, and the method and options that it was tuned for.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


class ScheduleFileError(ValueError):
    """A file that is missing, unreadable or without a schedule."""


def is_schedule_file(text: object) -> bool:
    """Return whether a schedule is given as a file."""
    return isinstance(text, str) and text.strip().endswith(".toml")


def read_schedule_file(text: str) -> dict[str, Any]:
    """Return the table [reduction] of a file: `schedule` as text, `method`, and the other values of a reduction.

    Raises ScheduleFileError, naming the file, where it is missing, is not TOML or has no such table.
    """
    path = Path(text.strip())
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ScheduleFileError(f"schedule: {path}: there is no such file; `fastast tune` writes one") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScheduleFileError(f"schedule: {path}: not readable as TOML: {error}") from None
    part = values.get("reduction")
    part = part if isinstance(part, dict) else {}
    schedule = part.get("schedule")
    if not isinstance(schedule, str) or is_schedule_file(schedule):
        raise ScheduleFileError(
            f'schedule: {path}: it has no [reduction] with a schedule, such as schedule = "list:40,40,0"; '
            "`fastast tune` writes such a file"
        )
    return part
