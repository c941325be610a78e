"""A Chrome trace as PyTorch writes it, read back: which time belongs to which forward, block and stage.

On a CPU a stage takes as long as its label, less the labels inside it. On a GPU work is started long before it runs,
so that a kernel belongs to the innermost label in which it was *launched*; a stage takes the sum of its kernels' times.
All kernels of a CUDA graph are launched by the one call that replays it.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.profiling.labels import FORWARD, read_label

_KERNELS = ("kernel", "gpu_memcpy", "gpu_memset")
_LAUNCHES = ("cuda_runtime", "cuda_driver")
_LABELS = "user_annotation"
_OPERATORS = "cpu_op"
WHOLE = "whole"
"""The stage that stands for all of a block."""


@dataclass(frozen=True, kw_only=True)
class TraceEvent:
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
    """By forward, block (counted from 1, 0 is outside of blocks) and stage; the stage `whole` is all of the block."""
    stage_calls: dict[tuple[int, int, str], int] = field(default_factory=lambda: defaultdict(int))
    """Labels by the same keys, on a GPU kernels; without `whole`."""
    operators: dict[str, list[list[int]]] = field(default_factory=dict)
    """Self times of all calls in every forward, by the name of the operator or kernel."""
    stages_of: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Stages that launched a kernel, by its name."""

    def add_call(self, forward: int, name: str, duration: int) -> None:
        """Note a call of an operator or kernel."""
        self.operators.setdefault(name, [[] for _ in self.forwards])[forward].append(duration)

    def add_stage(self, forward: int, block: int, stage: str, duration: int) -> None:
        """Note a label, or a kernel launched in it."""
        self.stages[forward, block, stage] += duration
        self.stage_calls[forward, block, stage] += 1


def read_events(path: Path) -> list[TraceEvent]:
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
            TraceEvent(
                name=item["name"],
                category=item.get("cat", ""),
                thread=(item["pid"], item["tid"]),
                start=start,
                end=start + round(item["dur"] * 1000),
                correlation=item.get("args", {}).get("correlation"),
            )
        )
    return events


def attribute(events: Sequence[TraceEvent]) -> dict[str, DeviceTimes]:
    """Return the times of every device that worked: `cpu`, and `cuda` where there are kernels.

    Raises ValueError for a trace without a labelled forward.
    """
    labels = [event for event in events if event.category == _LABELS]
    forwards = sorted((event for event in labels if event.name == FORWARD), key=lambda event: event.start)
    if not forwards:
        raise ValueError(f"the trace has no label {FORWARD!r}: no forward was profiled")
    read = {event.name: read_label(event.name) for event in labels}
    parts = [event for event in labels if read[event.name] is not None]
    names = {name: found for name, found in read.items() if found is not None}
    of_forward = _Finder(forwards)

    cpu = DeviceTimes(forwards=[event.duration for event in forwards])
    for part, own in self_times(parts):
        forward, (block, stage) = of_forward(part), names[part.name]
        if forward is None:
            continue
        if stage is None:
            cpu.stages[forward, block, WHOLE] += part.duration
        else:
            cpu.add_stage(forward, block, stage, own)
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
    wholes = [part for part in parts if names[part.name][1] is None]
    of_block = _Finder(wholes)
    # A stage may be inside another: of those that nest, each level has its own finder, the innermost comes first.
    levels = [(_Finder(level), level) for level in _levels([part for part in parts if names[part.name][1] is not None])]
    for kernel in kernels:
        launch = launches.get(kernel.correlation)
        forward = None if launch is None else of_forward(launch)
        if launch is None or forward is None:
            continue  # a copy or an event of the harness between two forwards
        cuda.forwards[forward] += kernel.duration
        cuda.add_call(forward, kernel.name, kernel.duration)
        index = of_block(launch)
        if index is not None:
            cuda.stages[forward, names[wholes[index].name][0], WHOLE] += kernel.duration
        for find, level in levels:
            index = find(launch)
            if index is not None:
                block, stage = names[level[index].name]
                assert stage is not None
                cuda.add_stage(forward, block, stage, kernel.duration)
                cuda.stages_of[kernel.name].add(stage)
                break
    return times | {"cuda": cuda}


def _levels(events: Sequence[TraceEvent]) -> list[list[TraceEvent]]:
    """Return the events by how many others they are inside, the innermost first."""
    levels: list[list[TraceEvent]] = []
    stack: list[TraceEvent] = []
    for event in _nested(events):
        while stack and (stack[-1].thread != event.thread or stack[-1].end <= event.start):
            stack.pop()
        if len(stack) == len(levels):
            levels.append([])
        levels[len(stack)].append(event)
        stack.append(event)
    return levels[::-1]


def _nested(events: Iterable[TraceEvent]) -> list[TraceEvent]:
    """Return the events of one thread after the other, each before those inside it."""
    return sorted(events, key=lambda event: (str(event.thread), event.start, -event.end))


def self_times(events: Iterable[TraceEvent]) -> list[tuple[TraceEvent, int]]:
    """Return every event with its duration less that of the events directly inside it, nanoseconds."""
    children: dict[int, int] = defaultdict(int)
    ordered = _nested(events)
    stack: list[TraceEvent] = []
    for event in ordered:
        while stack and (stack[-1].thread != event.thread or stack[-1].end <= event.start):
            stack.pop()
        if stack:
            children[id(stack[-1])] += event.duration
        stack.append(event)
    return [(event, event.duration - children[id(event)]) for event in ordered]


class _Finder:
    """Finds which of some events, none inside another, was under way when another event began on its thread."""

    def __init__(self, events: Sequence[TraceEvent]) -> None:
        self._events = events
        self._order: dict[tuple[Any, Any], list[int]] = defaultdict(list)
        for index in sorted(range(len(events)), key=lambda index: events[index].start):
            self._order[events[index].thread].append(index)
        self._starts = {thread: [events[index].start for index in order] for thread, order in self._order.items()}

    def __call__(self, event: TraceEvent) -> int | None:
        place = bisect_right(self._starts.get(event.thread, []), event.start) - 1
        if place < 0:
            return None
        index = self._order[event.thread][place]
        return index if event.start < self._events[index].end else None
