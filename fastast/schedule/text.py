"""Schedules as text: what `str(schedule)` writes is read back here."""

from __future__ import annotations

from fastast.names import unknown_name
from fastast.schedule.counts import Constant, First, Half, Linear, PerBlock
from fastast.schedule.file import is_schedule_file, read_schedule_file
from fastast.schedule.goals import KeepRatio, TargetSpeedup
from fastast.schedule.values import ScheduleError

Schedule = Constant | Linear | Half | First | PerBlock | KeepRatio | TargetSpeedup

_FORMS = (
    "constant:R, decreasing:R, increasing:R, linear:R:INFLECTION, early:R, late:R, first:R, list:R1,R2,..., "
    "keep:RATIO, speedup:X[:INFLECTION], or a file of `fastast tune`"
)


def parse_schedule(text: str) -> Schedule:
    """Read a schedule from its text, in the form that `str(schedule)` writes, or from a file (`fastast.schedule.file`).

    Raises ScheduleError, with the text and the possible forms, or ScheduleFileError, with the file.
    """
    if is_schedule_file(text):
        return parse_schedule(read_schedule_file(text)["schedule"])
    name, _, rest = text.strip().partition(":")
    values = rest.split(":") if rest else []
    try:
        match name, values:
            case "constant", [r]:
                return Constant(int(r))
            case "decreasing", [r]:
                return Linear(int(r), -1.0)
            case "increasing", [r]:
                return Linear(int(r), 1.0)
            case "linear", [r, inflection]:
                return Linear(int(r), float(inflection))
            case "early" | "late", [r]:
                return Half(int(r), "early" if name == "early" else "late")
            case "first", [r]:
                return First(int(r))
            case "list", [counts]:
                return PerBlock(tuple(int(count) for count in counts.split(",")))
            case "keep", [ratio]:
                return KeepRatio(float(ratio))
            case "speedup", [speedup]:
                return TargetSpeedup(float(speedup))
            case "speedup", [speedup, inflection]:
                return TargetSpeedup(float(speedup), float(inflection))
    except ScheduleError:
        raise
    except ValueError:
        raise ScheduleError(
            f"schedule {text!r}: R must be a whole number, all other values numbers (to keep half, keep:0.5); the "
            f"forms are {_FORMS}"
        ) from None
    known = ["constant", "decreasing", "increasing", "linear", "early", "late", "first", "list", "keep", "speedup"]
    if name not in known:
        raise ScheduleError(f"schedule {text!r}: {unknown_name('schedule', name, known)}; the forms are {_FORMS}")
    raise ScheduleError(f"schedule {text!r}: the forms are {_FORMS}")
