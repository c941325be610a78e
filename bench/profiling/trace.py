"""Reading PyTorch's Chrome trace back: how much time belongs to which forward, block and stage.

On a CPU, the time of a stage is that of its label minus that of nested labels. On a GPU, work starts long before it
runs, so a kernel belongs to the innermost label in which it was *launched*, and the time of a stage is the sum over its
kernels. All kernels of a CUDA graph are launched by the single call that replays it.
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
"""Stage name of an entire block."""


@dataclass(frozen=True, kw_only=True)
class TraceEvent:
    """A complete event (phase `X`) of the trace."""

    name: str
    category: str
    thread: tuple[Any, Any]
    """Process and thread."""
    start: int
    """Nanoseconds."""
    end: int
    """Nanoseconds."""
    correlation: int | None
    """Number shared by a kernel and its launch."""

    @property
    def duration(self) -> int:
        """Nanoseconds."""
        return self.end - self.start


@dataclass(kw_only=True)
class DeviceTimes:
    """Times on one device, in nanoseconds."""

    forwards: list[int]
    """Time of every forward pass."""
    stages: dict[tuple[int, int, str], int] = field(default_factory=lambda: defaultdict(int))
    """Time by forward, block (from 1; 0 is outside the blocks) and stage; the stage `whole` is the entire block."""
    stage_calls: dict[tuple[int, int, str], int] = field(default_factory=lambda: defaultdict(int))
    """Number of labels by the same keys, or of kernels on a GPU; without `whole`."""
    operators: dict[str, list[list[int]]] = field(default_factory=dict)
    """By name of the operator or kernel, the self times of all its calls in every forward pass."""
    stages_of: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By name of the kernel, the stages that launched it."""

    def add_call(self, forward: int, name: str, duration: int) -> None:
        """Add a call of an operator or kernel."""
        self.operators.setdefault(name, [[] for _ in self.forwards])[forward].append(duration)

    def add_stage(self, forward: int, block: int, stage: str, duration: int) -> None:
        """Add a label, or a kernel launched within it."""
        self.stages[forward, block, stage] += duration
        self.stage_calls[forward, block, stage] += 1


def read_events(path: Path) -> list[TraceEvent]:
    """Return the complete events of a trace. Raises ValueError for a file that is not a Chrome trace."""
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
    """Return the times by device: `cpu`, and `cuda` if there are kernels.

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
    # Stages may nest: each level of nesting has its own finder, innermost first.
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
    """Group events by depth of nesting, innermost first."""
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
    """Sort events by thread, each before those nested in it."""
    return sorted(events, key=lambda event: (str(event.thread), event.start, -event.end))


def self_times(events: Iterable[TraceEvent]) -> list[tuple[TraceEvent, int]]:
    """Return every event with its duration minus that of the events nested directly in it, in nanoseconds."""
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
    """Finds which of a set of events, none of them nested, was running when a given event began on its thread."""

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
