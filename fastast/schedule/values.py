"""Values of a schedule: what is allowed, and their text."""

from __future__ import annotations


class ScheduleError(ValueError):
    """A schedule that makes no sense for any model, or for the one at hand."""


def check_count(schedule: str, name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ScheduleError(f"schedule {schedule}: {name} is {value!r}; it must be a whole number of at least 0")


def number_text(value: float) -> str:
    """Return a number as text that reads back as the same number, in short form where possible."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))
