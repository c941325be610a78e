"""Whether records are of one machine and one PyTorch: else their times do not tell what was measured apart.

The key of a machine says less: clocks and generations of processors that virtual machines give one name, and versions
of PyTorch, change times by more than what is compared.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.records.schema import Record


def facts(record: Record) -> dict[str, str | None]:
    """Return what times depend on beside what a key says, by name; None is not known."""
    machine = record.machine
    own = machine.device == "cpu"
    return {
        "device": machine.device_name,
        "generation (family.model.stepping)": machine.cpu.generation if own else None,
        "processors": str(machine.cpu.logical_cores) if own and machine.cpu.logical_cores else None,
        "PyTorch": record.software.torch,
    }


def unlike(one: Record, other: Record) -> list[str]:
    """Return in words how two records differ in what times depend on, where both know."""
    mine, theirs = facts(one), facts(other)
    return [
        f"{name} is {mine[name]} and {theirs[name]}"
        for name in mine
        if mine[name] is not None and theirs[name] is not None and mine[name] != theirs[name]
    ]


def first_unlike(records: Iterable[Record]) -> tuple[Record, Record, list[str]] | None:
    """Return two timed records of one key that are not of one machine, and how they differ; None where all are."""
    seen: dict[str, list[Record]] = {}
    for record in records:
        if record.performance is None:
            continue
        alike = seen.setdefault(record.machine.key, [])
        for other in alike:
            if words := unlike(other, record):
                return other, record, words
        if all(facts(record) != facts(other) for other in alike):  # another that knows more or less of itself
            alike.append(record)
    return None
