"""Labels on the parts of a model for as long as it is profiled; the model's own code knows nothing of them.

Shapes: `b` batch, `n` tokens, `d` width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch.profiler import record_function

import fastast.model
from bench.profiling.labels import FORWARD, block_label, stage_label
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergePlan

Function = Callable[..., Any]


@dataclass(kw_only=True)
class Labels:
    """What was seen while a model was labelled."""

    tokens: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Tokens that entered and left each block in its last forward; blocks are counted from 1."""
    _block: int | None = None
    """The block that runs now."""

    def around_forward(self, function: Function) -> Function:
        """Return `function` under the label of a whole forward."""

        def labelled(*args: Any, **kwargs: Any) -> Any:
            with record_function(FORWARD):
                return function(*args, **kwargs)

        return labelled

    def around_block(self, block: int, function: Function) -> Function:
        """Return a block's forward under its label; its first argument is x (b, n, d), so is its first result."""

        def labelled(x: Any, *args: Any, **kwargs: Any) -> Any:
            self._block = block
            try:
                with record_function(block_label(block)):
                    out = function(x, *args, **kwargs)
            finally:
                self._block = None
            self.tokens[block] = (x.shape[1], out[0].shape[1])
            return out

        return labelled

    def around_stage(self, stage: str, function: Function) -> Function:
        """Return `function` under the label of a stage of the block that runs; outside of blocks it has none."""

        def labelled(*args: Any, **kwargs: Any) -> Any:
            if self._block is None:
                return function(*args, **kwargs)
            with record_function(stage_label(self._block, stage)):
                return function(*args, **kwargs)

        return labelled


@contextmanager
def labelled(model: AudioSpectrogramTransformer) -> Iterator[Labels]:
    """Label the forward of `model`, its blocks and their stages; on leaving, everything is what it was.

    Models that share blocks with `model` are labelled too: label one at a time.
    """
    labels = Labels()
    with ExitStack() as stack:
        replace_attribute(stack, model, "forward", labels.around_forward)
        for number, block in enumerate(model.blocks, 1):
            replace_attribute(stack, block, "forward", partial(labels.around_block, number))
            replace_attribute(stack, block.attn, "forward", partial(labels.around_stage, "attention"))
            replace_attribute(stack, block.mlp, "forward", partial(labels.around_stage, "mlp"))
        replace_attribute(stack, fastast.model, "make_plan", partial(labels.around_stage, "plan"))
        replace_attribute(stack, MergePlan, "merge", partial(labels.around_stage, "merge"))
        yield labels


def replace_attribute(stack: ExitStack, owner: Any, name: str, wrap: Callable[[Function], Function]) -> None:
    """Put `wrap(owner.name)` in its place until `stack` is closed; what was inherited is inherited again."""
    own, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, wrap(before))
    stack.callback(setattr, owner, name, before) if own else stack.callback(delattr, owner, name)
