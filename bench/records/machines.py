"""Tell whether records are of one machine and one version of PyTorch; otherwise their times cannot be compared.

A machine's key says less: versions of PyTorch, and clocks and generations of processors that share one name in virtual
machines, change times by more than the differences that are measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.measure.machine import Machine, Software
from bench.records.schema import Record


def timed_on(machine: Machine, software: Software) -> dict[str, str | None]:
    """Return, by name, what times depend on beyond a machine's key; None where it is not known."""
    cpu = machine.cpu if machine.device == "cpu" else None
    return {
        "device": machine.device_name,
        "generation (family.model.stepping)": cpu.generation if cpu else None,
        "processors": str(cpu.logical_cores) if cpu and cpu.logical_cores else None,
        "PyTorch": software.torch,
    }


def unlike(mine: Mapping[str, str | None], theirs: Mapping[str, str | None]) -> list[str]:
    """Return in words how the facts of two machines differ, as far as both are known."""
    return [
        f"{name} is {mine[name]} and {theirs[name]}"
        for name in mine
        if mine[name] is not None and theirs[name] is not None and mine[name] != theirs[name]
    ]


def first_unlike(records: Iterable[Record]) -> tuple[Record, Record, list[str]] | None:
    """Return two timed records with one key but of different machines, and how these differ; None if there are none."""
    seen: dict[str, list[tuple[Record, dict[str, str | None]]]] = {}
    for record in records:
        if record.performance is None:
            continue
        mine, alike = timed_on(record.machine, record.software), seen.setdefault(record.machine.key, [])
        for other, theirs in alike:
            if words := unlike(theirs, mine):
                return other, record, words
        if all(mine != theirs for _, theirs in alike):  # the first, or one with other facts known
            alike.append((record, mine))
    return None


def why_apart(records: Iterable[Record]) -> str:
    """Return in words why the times of records cannot be compared, and what to do; empty where they can."""
    if (found := first_unlike(records)) is None:
        return ""
    one, other, words = found
    return (
        f"times of sweep {one.sweep!r} on {one.machine.key} cannot be compared: for cells {one.cell.id} and "
        f"{other.cell.id}, {'; '.join(words)}. Move the records of one kind into another folder of results, or measure "
        "them again"
    )
