"""Labels on the parts of a forward for as long as it is profiled: the forward shows its parts, these name them.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch.profiler import record_function

from bench.profiling import labels

PLAIN = {part: part for part in labels.STAGES}
"""The parts of a model in plain torch that have a label."""


class Labels:
    """A scope, as `fastast.reduction.forward.scope` has it, that labels the parts of `names` and every block."""

    def __init__(self, names: dict[str, str]) -> None:
        """`names` maps the parts that a forward shows to their labels; any other part has none."""
        self._names = names

    def __call__(self, block: int, part: str) -> AbstractContextManager[Any]:
        """Return the label of a part of a block, which is counted from 0, -1 outside of blocks."""
        number = block + 1  # people count from 1; what is outside of blocks is labels.OUTSIDE
        if not part:
            return record_function(labels.block_label(number))
        if part not in self._names:
            return nullcontext()
        return record_function(labels.stage_label(number, self._names[part]))
