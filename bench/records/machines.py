"""Whether records are of one machine and one PyTorch: else their times do not tell what was measured apart.

The key of a machine says less: clocks and generations of processors that virtual machines give one name, and versions
of PyTorch, change times by more than what is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.measure.machine import Machine, Software
from bench.records.schema import Record


def timed_on(machine: Machine, software: Software) -> dict[str, str | None]:
    """Return what times depend on beside what a key says, by name; None is not known."""
    cpu = machine.cpu if machine.device == "cpu" else None
    return {
        "device": machine.device_name,
        "generation (family.model.stepping)": cpu.generation if cpu else None,
        "processors": str(cpu.logical_cores) if cpu and cpu.logical_cores else None,
        "PyTorch": software.torch,
    }


def unlike(mine: Mapping[str, str | None], theirs: Mapping[str, str | None]) -> list[str]:
    """Return in words how two machines' facts differ, where both are known."""
    return [
        f"{name} is {mine[name]} and {theirs[name]}"
        for name in mine
        if mine[name] is not None and theirs[name] is not None and mine[name] != theirs[name]
    ]


def first_unlike(records: Iterable[Record]) -> tuple[Record, Record, list[str]] | None:
    """Return two timed records of one key that are not of one machine, and how they differ; None where all are."""
    seen: dict[str, list[tuple[Record, dict[str, str | None]]]] = {}
    for record in records:
        if record.performance is None:
            continue
        mine, alike = timed_on(record.machine, record.software), seen.setdefault(record.machine.key, [])
        for other, theirs in alike:
            if words := unlike(theirs, mine):
                return other, record, words
        if all(mine != theirs for _, theirs in alike):  # the first, or one that knows more or less of itself
            alike.append((record, mine))
    return None


def why_apart(records: Iterable[Record]) -> str:
    """Return in words why times of records cannot stand together, and what to do; empty where they can."""
    if (found := first_unlike(records)) is None:
        return ""
    one, other, words = found
    return (
        f"times of sweep {one.sweep!r} on {one.machine.key} cannot stand together: of cells {one.cell.id} and "
        f"{other.cell.id} {'; '.join(words)}. Move the records of one of them into results of their own, or measure "
        "them again"
    )
