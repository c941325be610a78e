"""Labels for the kernels and matrix products of an engine's eager forward while it is profiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from torch.profiler import record_function

from bench.profiling.labels import CHOOSING, FORWARD, MERGE_NORM, OUTSIDE
from bench.profiling.stages import Labels
from fastast.engine import Engine
from fastast.engine.choosing import accelerator_of
from fastast.engine.runners import KernelRunner

OUTSIDE_PARTS = ("patch tokens", "first norm", "head")
ATTENTION_PARTS = ("qkv", "weighted attention", "projection")
MLP_PARTS = ("mlp, first product", "mlp, second product", "add + norm")
PARTS = (*OUTSIDE_PARTS, *ATTENTION_PARTS, "head's tokens", *CHOOSING, MERGE_NORM, *MLP_PARTS)
"""Every part of an engine's forward that can carry a label."""


@contextmanager
def labelled_engine(engine: Engine) -> Iterator[None]:
    """Label `engine.eagerly`, its blocks and their parts; restore the engine on exit.

    Graphs captured earlier stay without labels. Raises ValueError for an engine that does not run on kernels.
    """
    runner = engine.runner
    if not isinstance(runner, KernelRunner):
        raise ValueError("labelled_engine: this engine runs the model's own forward, which has no kernels")
    logits, fbank = engine._logits, engine._input.fbank

    def labelled(name: str, function: Any) -> Any:
        @wraps(function)
        def call(*args: Any) -> Any:
            with record_function(name):
                return function(*args)

        return call

    # A method that chooses in plain torch has the single part `plan`; one with kernels has a part for each of them.
    slow = engine.reduction is not None and accelerator_of(engine.reduction) is None
    engine.runner = runner.watched(Labels({part: part for part in PARTS} | ({"plan": "plan"} if slow else {})))
    engine._logits = labelled(FORWARD, logits)  # type: ignore[method-assign]
    if engine.frontend is not None:
        engine._input.fbank = labelled("filterbank", fbank)  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.runner = runner
        del engine._logits
        if engine.frontend is not None:
            del engine._input.fbank


def expected_stages(engine: Engine) -> dict[int, set[str]]:
    """Return, by block (counted from 1), the parts that must appear in a trace."""
    assert isinstance(engine.runner, KernelRunner)
    attached, encoder = engine.runner.forward.attached, engine.encoder
    removals = attached.removals if attached else (0,) * encoder.depth
    expected: dict[int, set[str]] = {OUTSIDE: set(OUTSIDE_PARTS)}
    for block, r in enumerate(removals, 1):
        stages = set(MLP_PARTS)
        if block == encoder.depth and (attached is None or attached.spares_the_head(encoder)):
            expected[block] = stages | {"head's tokens"}
            continue
        stages |= set(ATTENTION_PARTS)
        if r > 0 and attached is not None:
            choosing = {"plan"} if accelerator_of(attached.reduction) is None else set(CHOOSING)
            stages |= choosing | {MERGE_NORM}
        expected[block] = stages
    return expected
