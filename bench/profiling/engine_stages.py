"""Labels on the stages of an engine's eager forward for as long as it is profiled; the engine knows nothing of them.

The forward calls its stages as functions of a plain value, and its other products and norms by the names of its module:
both are exchanged. A block is under its label from where the forward takes its weights to where it takes the next ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from functools import partial, wraps
from typing import Any

from torch.profiler import record_function

import fastast.engine.forward
from bench.profiling.labels import CHOOSING, FORWARD, MERGE_NORM, OUTSIDE, block_label, stage_label
from bench.profiling.stages import replace_attribute
from fastast.engine import Engine
from fastast.engine.route import MERGES, Route
from fastast.engine.runners import StageRunner
from fastast.engine.stages import Stages
from fastast.engine.weights import PackedBlock, PackedModel

Function = Callable[..., Any]

NAMES = {
    "patch_tokens": "patch tokens",
    "weighted_attention": "weighted attention",
    "key_metric": "key metric",
    "best_partner": "best partner",
    "merge_plan": "merge plan",
    "merge_norm": MERGE_NORM,
    "add_norm": "add + norm",
    "linear_gelu": "mlp, first product",
    "drop_norm": "drop + norm",
}
"""How the fields of `Stages` are called in a profile."""


class EngineLabels:
    """The labels, and the block that runs now."""

    def __init__(self) -> None:
        self._block = OUTSIDE

    def blocks(self, blocks: tuple[PackedBlock, ...]) -> tuple[PackedBlock, ...]:
        """Return the blocks so that a loop over them runs under their labels."""
        labels = self

        class Labelled(tuple[PackedBlock, ...]):
            def __iter__(self) -> Iterator[PackedBlock]:
                for number, block in enumerate(blocks, 1):
                    labels._block = number
                    try:
                        with record_function(block_label(number)):
                            yield block
                    finally:
                        labels._block = OUTSIDE

        return Labelled(blocks)

    def stages(self, stages: Stages) -> Stages:
        """Return the stages under their names."""
        return Stages(
            **{field.name: self.around(NAMES[field.name], getattr(stages, field.name)) for field in fields(stages)}
        )

    def around(self, stage: str, function: Function) -> Function:
        """Return `function` under the label of a stage, of the block that runs."""

        @wraps(function)
        def labelled(*args: Any, **kwargs: Any) -> Any:
            with record_function(stage_label(self._block, stage)):
                return function(*args, **kwargs)

        return labelled

    def around_layer(self, names: dict[int, str], function: Function) -> Function:
        """Return a function of (x, layer) under the label that `names` has for the layer, by its id."""

        @wraps(function)
        def labelled(x: Any, layer: Any) -> Any:
            with record_function(stage_label(self._block, names[id(layer)])):
                return function(x, layer)

        return labelled


@contextmanager
def labelled_engine(engine: Engine) -> Iterator[None]:
    """Label `engine.eagerly`, its blocks and their stages; on leaving, everything is what it was.

    Only one engine at a time, and only one that runs on stages. A graph that was captured before has no labels.
    """
    run = engine.runner
    if not isinstance(run, StageRunner):
        raise ValueError("labelled_engine: this engine runs the model's own forward, which has no stages")
    labels = EngineLabels()
    labelled_weights = replace(run.weights, blocks=labels.blocks(run.weights.blocks))
    labelled_run = replace(run, weights=labelled_weights, stages=labels.stages(run.stages))
    linears, norms = _layers(run.weights)
    module = fastast.engine.forward
    with ExitStack() as stack:
        replace_attribute(stack, engine, "runner", lambda _: labelled_run)
        replace_attribute(stack, engine, "_logits", partial(labels.around, FORWARD))
        if engine.frontend is not None:
            replace_attribute(stack, engine._input, "fbank", partial(labels.around, "filterbank"))
        replace_attribute(stack, module, "linear", partial(labels.around_layer, linears))
        replace_attribute(stack, module, "norm", partial(labels.around_layer, norms))
        replace_attribute(stack, module, "head_tokens", partial(labels.around, "head's tokens"))
        yield


def route_of(engine: Engine) -> Route:
    """Return the route of an engine that runs on stages."""
    assert isinstance(engine.runner, StageRunner)
    return engine.runner.route


def expected_stages(route: Route) -> dict[int, set[str]]:
    """Return the stages that every block must have in a trace, by the number of the block."""
    last = len(route.removals)
    expected: dict[int, set[str]] = {OUTSIDE: {"patch tokens", "first norm", "head"}}
    for block, r in enumerate(route.removals, 1):
        stages = {"mlp, first product", "mlp, second product", "add + norm"}
        if block == last and route.short_last_block:
            expected[block] = stages | {"head's tokens"}
            continue
        stages |= {"qkv", "weighted attention", "projection"}
        if r > 0:
            stages |= {*CHOOSING, MERGE_NORM} if route.method == MERGES else {"drop + norm"}
        expected[block] = stages
    return expected


def _layers(weights: PackedModel) -> tuple[dict[int, str], dict[int, str]]:
    """Return the names of the linear layers and of the norms that the forward calls itself, by their ids."""
    linears = {id(weights.head): "head"}
    for block in weights.blocks:
        linears |= {id(block.qkv): "qkv", id(block.proj): "projection", id(block.fc2): "mlp, second product"}
    return linears, {id(weights.blocks[0].norm1): "first norm", id(weights.head_norm): "head"}
