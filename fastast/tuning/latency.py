"""Measured cost of a block by its number of tokens.

Shapes: `b` batch, `f` frames, `m` mel bins, `k` blocks, `l` levels (numbers of tokens).

Whole forward passes run under schedules that take the blocks through all numbers of tokens, and every part of every
block is timed in place, with real tokens, sizes and caches. If a part appears to cost less with more tokens, that is
noise, so the costs are the closest fit that never decreases.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from torch import Tensor

from fastast.encoder import EncoderShape
from fastast.engine import Engine
from fastast.engine.runners import KernelRunner, PlainRunner
from fastast.reduction.forward.scope import OUTSIDE, Scope
from fastast.system.clocks import rotated

PARTS = ("attention", "plan", "merge")
"""Parts of a block that are timed separately; the rest is its MLP and residual sums."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A cost by number of tokens: linear between the measured numbers, proportional below them, constant above."""

    tokens: tuple[int, ...]
    """Measured numbers of tokens, increasing."""
    seconds: tuple[float, ...]
    """Cost at each of those numbers; never decreases."""

    @classmethod
    def of(cls, points: Mapping[int, Sequence[float]]) -> Curve:
        """Fit a curve that never decreases to the medians of `points`, each weighted by its number of values."""
        tokens = sorted(points)
        medians = [float(np.median(points[n])) for n in tokens]
        fitted = isotonic_regression(medians, weights=[len(points[n]) for n in tokens]).x
        return cls(tokens=tuple(tokens), seconds=tuple(map(float, fitted)))

    def __call__(self, tokens: int) -> float:
        """Return the seconds that this many tokens cost."""
        if tokens < self.tokens[0]:
            return self.seconds[0] * tokens / self.tokens[0]
        return float(np.interp(tokens, self.tokens, self.seconds))


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """Seconds per batch, by block and number of tokens."""

    num_tokens: int
    """Tokens that enter the first block."""
    depth: int
    """Number of blocks."""
    whole: float
    """Attention over all tokens, where no token sizes weight it."""
    attention: Curve
    """Attention over fewer tokens, by the number that enters."""
    choosing: Curve
    """Time that choosing and merging adds to a block that removes tokens, by the number that enters."""
    rest: Curve
    """MLP and residual sums, by the number of tokens that leaves."""
    last: Curve
    """The last block if it removes nothing, by its tokens: it may compute only what the head reads."""
    outside: float
    """Everything that is timed outside the blocks: the embedding, and with kernels the head."""

    def block(self, block: int, before: int, after: int) -> float:
        """Return the seconds of a block which `before` tokens enter and `after` leave."""
        if block == self.depth - 1 and before == after:
            return self.last(before)
        attention = self.whole if before == self.num_tokens else self.attention(before)
        return attention + self.rest(after) + (self.choosing(before) if after < before else 0.0)

    def forward(self, tokens: Sequence[int]) -> float:
        """Return the seconds of a forward pass, given the number of tokens that leaves each block."""
        entering = (self.num_tokens, *tokens[:-1])
        blocks = (self.block(i, *pair) for i, pair in enumerate(zip(entering, tokens, strict=True)))
        return self.outside + sum(blocks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: [v.tokens, v.seconds] if isinstance(v, Curve) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LatencyTable:
        """Return the table that `to_dict` turned into plain values."""
        read: dict[str, Any] = {
            name: Curve(tokens=tuple(v[0]), seconds=tuple(v[1])) if isinstance(v, list | tuple) else v
            for name, v in values.items()
        }
        return cls(**read)


@dataclass(frozen=True, kw_only=True)
class BlockTimes:
    """Tokens before and after one block in one schedule, and its seconds: attention, choosing and merging, and all."""

    block: int
    before: int
    after: int
    attention: float
    choosing: float
    whole: float


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


def table_of(shape: EncoderShape, times: Sequence[BlockTimes], outside: Sequence[float]) -> LatencyTable:
    """Make a table of the blocks' times and the times outside them."""
    points: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    whole: list[float] = []
    for one in times:
        if one.block == shape.depth - 1 and one.before == one.after:
            points["last"][one.before].append(one.whole)
            continue
        if one.before == shape.num_tokens:
            whole.append(one.attention)
        else:
            points["attention"][one.before].append(one.attention)
        if one.after < one.before:
            points["choosing"][one.before].append(one.choosing)
        points["rest"][one.after].append(one.whole - one.attention - one.choosing)
    return LatencyTable(
        num_tokens=shape.num_tokens,
        depth=shape.depth,
        whole=float(np.median(whole)),
        outside=float(np.median(outside)),
        **{name: Curve.of(points[name]) for name in ("attention", "choosing", "rest", "last")},
    )


def cost_matrices(table: LatencyTable, levels: Sequence[int], limit: Callable[[int, int], int]) -> NDArray[np.float64]:
    """Return the seconds (k, l, l) of each block by the levels that enter and leave it, infinite beyond its limit."""
    found = np.full((table.depth, len(levels), len(levels)), np.inf)
    for block in range(table.depth):
        for i, before in enumerate(levels):
            most = limit(before, block)
            for j in range(i, len(levels)):
                if before - levels[j] > most:
                    break
                found[block, i, j] = table.block(block, before, levels[j])
    return found
