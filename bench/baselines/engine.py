"""FastAST's engine as an arm: compiled at its first call, so that this is timed as the first call.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from fastast.engine import Engine, compile
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction


class EngineArm:
    """A model on the engine, with a CUDA graph for one batch size where there are graphs."""

    def __init__(
        self, model: AudioSpectrogramTransformer, reduction: TokenReduction | None, batch_size: int | None
    ) -> None:
        """`batch_size` None captures nothing: every batch runs eagerly."""
        self._model, self._reduction, self._batch_size = model, reduction, batch_size

    @cached_property
    def engine(self) -> Engine:
        """The engine, compiled when it is first asked for."""
        weight = self._model.cls_token
        return compile(
            self._model, self._reduction, batch_size=self._batch_size, dtype=weight.dtype, device=weight.device
        )

    def __call__(self, fbank: Tensor) -> Tensor:
        """(b, f, m) -> logits (b, c)."""
        return self.engine(fbank)

    def eagerly(self, fbank: Tensor) -> Tensor:
        """(b, f, m) -> logits (b, c), without a graph, whose memory is taken once and for all when it is captured."""
        return self.engine.eagerly(fbank)
