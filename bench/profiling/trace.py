"""A Chrome trace as PyTorch writes it, read back: which time belongs to which forward, block and stage.

On a CPU a stage takes as long as its label. On a GPU work is started long before it runs, so that a kernel belongs to
the stage in whose label it was *launched*; a stage takes the sum of its kernels' times.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.profiling.labels import FORWARD, STAGES, block_label, stage_label

_KERNELS = ("kernel", "gpu_memcpy", "gpu_memset")
_LAUNCHES = ("cuda_runtime", "cuda_driver")
_LABELS = "user_annotation"
_OPERATORS = "cpu_op"
WHOLE = "whole"
"""The stage that stands for all of a block."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A complete event (`ph` X) of the trace."""

    name: str
    category: str
    thread: tuple[Any, Any]
    """Process and thread."""
    start: int
    """Nanoseconds."""
    end: int
    """Nanoseconds."""
    correlation: int | None
    """What a kernel has in common with its launch."""

    @property
    def duration(self) -> int:
        """Nanoseconds."""
        return self.end - self.start


@dataclass(kw_only=True)
class DeviceTimes:
    """The time of one device, nanoseconds."""

    forwards: list[int]
    """Of every forward."""
    stages: dict[tuple[int, int, str], int] = field(default_factory=lambda: defaultdict(int))
    """By forward, block (counted from 1) and stage; the stage `whole` is all of the block."""
    operators: dict[str, list[list[int]]] = field(default_factory=dict)
    """Self times of all calls in every forward, by the name of the operator or kernel."""

    def add_call(self, forward: int, name: str, duration: int) -> None:
        """Note a call of an operator or kernel."""
        self.operators.setdefault(name, [[] for _ in self.forwards])[forward].append(duration)


def read_events(path: Path) -> list[Event]:
    """Return the complete events of a trace. Raises ValueError for a file that is no Chrome trace."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: not a Chrome trace: {type(error).__name__}: {error}") from None
    events = []
    for item in raw:
        if item["ph"] != "X":
            continue
        start = round(item["ts"] * 1000)
        events.append(
            Event(
                name=item["name"],
                category=item.get("cat", ""),
                thread=(item["pid"], item["tid"]),
                start=start,
                end=start + round(item["dur"] * 1000),
                correlation=item.get("args", {}).get("correlation"),
            )
        )
    return events


def attribute(events: Sequence[Event], blocks: int) -> dict[str, DeviceTimes]:
    """Return the times of every device that worked: `cpu`, and `cuda` where there are kernels.

    Raises ValueError for a trace without a labelled forward.
    """
    labels = [event for event in events if event.category == _LABELS]
    forwards = sorted((event for event in labels if event.name == FORWARD), key=lambda event: event.start)
    if not forwards:
        raise ValueError(f"the trace has no label {FORWARD!r}: no forward was profiled")
    names = {block_label(block): (block, WHOLE) for block in range(1, blocks + 1)}
    names |= {stage_label(block, stage): (block, stage) for block in range(1, blocks + 1) for stage in STAGES}
    parts = [event for event in labels if event.name in names]
    of_forward = _Finder(forwards)

    cpu = DeviceTimes(forwards=[event.duration for event in forwards])
    for part in parts:
        forward = of_forward(part)
        if forward is not None:
            cpu.stages[forward, *names[part.name]] += part.duration
    for event, own in self_times(event for event in events if event.category == _OPERATORS):
        forward = of_forward(event)
        if forward is not None:
            cpu.add_call(forward, event.name, own)
    times = {"cpu": cpu}

    kernels = [event for event in events if event.category in _KERNELS]
    if not kernels:
        return times
    cuda = DeviceTimes(forwards=[0] * len(forwards))
    launches = {event.correlation: event for event in events if event.category in _LAUNCHES}
    wholes = [part for part in parts if names[part.name][1] == WHOLE]
    stages = [part for part in parts if names[part.name][1] != WHOLE]
    finders = ((_Finder(wholes), wholes), (_Finder(stages), stages))
    for kernel in kernels:
        launch = launches.get(kernel.correlation)
        forward = None if launch is None else of_forward(launch)
        if launch is None or forward is None:
            continue  # a copy or an event of the harness between two forwards
        cuda.forwards[forward] += kernel.duration
        cuda.add_call(forward, kernel.name, kernel.duration)
        for find, found in finders:
            index = find(launch)
            if index is not None:
                cuda.stages[forward, *names[found[index].name]] += kernel.duration
    return times | {"cuda": cuda}


def self_times(events: Iterable[Event]) -> list[tuple[Event, int]]:
    """Return every event with its duration less that of the events directly inside it, nanoseconds."""
    children: dict[int, int] = defaultdict(int)
    ordered = sorted(events, key=lambda event: (str(event.thread), event.start, -event.end))
    stack: list[Event] = []
    for event in ordered:
        while stack and (stack[-1].thread != event.thread or stack[-1].end <= event.start):
            stack.pop()
        if stack:
            children[id(stack[-1])] += event.duration
        stack.append(event)
    return [(event, event.duration - children[id(event)]) for event in ordered]


class _Finder:
    """Finds which of some events, none inside another, was under way when another event began on its thread."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self._order: dict[tuple[Any, Any], list[int]] = defaultdict(list)
        for index in sorted(range(len(events)), key=lambda index: events[index].start):
            self._order[events[index].thread].append(index)
        self._starts = {thread: [events[index].start for index in order] for thread, order in self._order.items()}

    def __call__(self, event: Event) -> int | None:
        place = bisect_right(self._starts.get(event.thread, []), event.start) - 1
        if place < 0:
            return None
        index = self._order[event.thread][place]
        return index if event.start < self._events[index].end else None
