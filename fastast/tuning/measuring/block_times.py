"""Times of the blocks of a model and of their parts, as the table of latencies needs them.

Shapes: `b` batch, `f` frames, `m` mel bins.

Whole forward passes run under schedules that take the blocks through all numbers of tokens, and every part of every
block is timed in place, with real tokens, sizes and caches.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastast.encoder import EncoderShape
from fastast.engine import Engine
from fastast.engine.runners import KernelRunner, PlainRunner
from fastast.reduction.forward.scope import OUTSIDE, Scope
from fastast.system.clocks import rotated
from fastast.tuning.measuring.latency import BlockTimes, LatencyTable, table_of

PARTS = ("attention", "plan", "merge")
"""Parts of a block that are timed separately; the rest is its MLP and residual sums."""


def probe_counts(shape: EncoderShape, limit: Callable[[int, int], int], levels: int = 6) -> list[tuple[int, ...]]:
    """Return removals of schedules that take the blocks through all numbers of tokens.

    `limit(tokens, block)`: the most that a block can remove. Half of the schedules are constant and half remove most in
    the first blocks, each from nothing to the most that is possible; every other one removes nothing in the last block.
    """
    found: dict[tuple[int, ...], None] = {}
    for step in range(levels + 1):
        share = step / levels
        for falling in (False, True):
            tokens, counts = shape.num_tokens, []
            even = round(share * shape.num_tokens / shape.depth)
            for block in range(shape.depth):
                most = limit(tokens, block)
                wanted = round(share * most) if falling else even
                counts.append(0 if block == shape.depth - 1 and step % 2 else min(wanted, most))
                tokens -= counts[-1]
            found[tuple(counts)] = None
    return list(found)


class StageClock:
    """A scope that times the blocks of a forward pass and their parts."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spans: list[tuple[int, str, Any, Any]] = []

    @contextmanager
    def __call__(self, block: int, part: str) -> Iterator[None]:
        """Time a part of a block, or a whole block if `part` is empty."""
        if block == OUTSIDE or part not in ("", *PARTS):
            yield
            return
        start = self._now()
        yield
        self._spans.append((block, part, start, self._now()))

    def spans(self) -> dict[tuple[int, str], float]:
        """Return the seconds that each part took since the last call, by block and part."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        found: dict[tuple[int, str], float] = defaultdict(float)
        for block, part, start, end in self._spans:
            found[block, part] += start.elapsed_time(end) / 1000 if self._device.type == "cuda" else end - start
        self._spans = []
        return found

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def watched(engine: Engine, scope: Scope) -> Callable[[Tensor], Tensor]:
    """Return an engine's forward function on filterbanks (b, f, m), without a CUDA graph, observed by a scope."""
    runner = engine.runner
    if isinstance(runner, KernelRunner):
        return runner.watched(scope)
    assert isinstance(runner, PlainRunner)
    model: Any = runner.model

    def forward(fbank: Tensor) -> Tensor:
        return model.forward_features(fbank, scope=scope)  # without the head, which is small

    return forward


def measure_table(
    shape: EncoderShape, engines: Mapping[tuple[int, ...], Engine], fbank: Tensor, *, rounds: int
) -> LatencyTable:
    """Time every block of every engine on a batch, fbank: (b, f, m), in interleaved rounds.

    `engines` is keyed by the removals of the blocks. The first round is a warm-up and is not counted.
    """
    device = next(iter(engines.values())).device
    clock = StageClock(device)
    forwards = {counts: watched(engine, clock) for counts, engine in engines.items()}
    parts: dict[tuple[tuple[int, ...], int, str], list[float]] = defaultdict(list)
    outside: list[float] = []
    order = list(forwards)
    for number in range(rounds + 1):
        for counts in rotated(order, number):
            start = clock._now()
            with torch.inference_mode(False), torch.no_grad():
                forwards[counts](fbank)
            end = clock._now()
            spans = clock.spans()
            if number == 0:
                continue
            whole = start.elapsed_time(end) / 1000 if device.type == "cuda" else end - start
            outside.append(whole - sum(seconds for (_, part), seconds in spans.items() if part == ""))
            for (block, part), seconds in spans.items():
                parts[counts, block, part].append(seconds)
    medians = {key: float(np.median(values)) for key, values in parts.items()}
    times = [one for counts in order for one in _blocks(shape, counts, medians)]
    return table_of(shape, times, outside)


def _blocks(
    shape: EncoderShape, counts: tuple[int, ...], medians: Mapping[tuple[tuple[int, ...], int, str], float]
) -> Iterator[BlockTimes]:
    tokens = shape.num_tokens
    for block, r in enumerate(counts):
        attention, plan, merge = (medians.get((counts, block, part), 0.0) for part in PARTS)
        yield BlockTimes(
            block=block,
            before=tokens,
            after=tokens - r,
            attention=attention,
            choosing=plan + merge,
            whole=medians[counts, block, ""],
        )
        tokens -= r
