"""Labels for the parts of a forward while it is profiled: the forward exposes its parts, and these name them.

Shapes: `b` batch, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch.profiler import record_function

from bench.profiling import labels

PLAIN = {part: part for part in labels.STAGES}
"""The labelled parts of a model in plain torch."""


class Labels:
    """A scope, as defined in `fastast.reduction.forward.scope`, that labels every block and the parts in `names`."""

    def __init__(self, names: dict[str, str]) -> None:
        """`names` maps parts of the forward to labels; other parts stay without one."""
        self._names = names

    def __call__(self, block: int, part: str) -> AbstractContextManager[Any]:
        """Return the label of a part of a block; blocks are counted from 0, and -1 is outside the blocks."""
        number = block + 1  # labels count from 1, and 0 is labels.OUTSIDE
        if not part:
            return record_function(labels.block_label(number))
        if part not in self._names:
            return nullcontext()
        return record_function(labels.stage_label(number, self._names[part]))
