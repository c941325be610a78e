"""FastAST's engine as an arm, compiled within its first call, whose time is recorded.

Shapes: `b` batch, `s` samples, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from fastast.engine import Engine, compile
from fastast.frontend import Frontend
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction


class EngineArm:
    """A model on the engine, with a CUDA graph for one batch size on devices that have graphs."""

    def __init__(
        self,
        model: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
        batch_size: int | None,
        frontend: Frontend | None = None,
        *,
        attention: str = "auto",
    ) -> None:
        """`batch_size`: None captures nothing, so that every batch runs eagerly. With `frontend`, the arm takes
        waveforms (b, s). `attention`: as in `fastast.compile`.
        """
        self._model, self._reduction, self._batch_size, self._frontend = model, reduction, batch_size, frontend
        self._attention = attention

    @cached_property
    def engine(self) -> Engine:
        """The engine, compiled on first use."""
        weight = self._model.cls_token
        return compile(
            self._model,
            self._reduction,
            batch_size=self._batch_size,
            dtype=weight.dtype,
            device=weight.device,
            frontend=self._frontend,
            attention=self._attention,
        )

    def __call__(self, clips: Tensor) -> Tensor:
        """(b, f, m) or (b, s) -> logits (b, c)."""
        return self.engine(clips)

    def eagerly(self, clips: Tensor) -> Tensor:
        """The same without a graph, whose memory is allocated once, when it is captured."""
        return self.engine.eagerly(clips)
