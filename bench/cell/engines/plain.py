"""The engine `plain`: the model's own forward in PyTorch.

Modules that build arms are imported only there, as sweeps query an engine's abilities before they need a model.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from bench.sweep.axes import FLOATING
from bench.sweep.baselines import SCOPES
from fastast.attention import ATTENTION_KERNELS

if TYPE_CHECKING:
    from torch import Tensor

    from bench.cell.engines.ran import Ran
    from bench.sweep.cells import Cell
    from fastast.frontend import Frontend
    from fastast.model import AudioSpectrogramTransformer
    from fastast.reduction import TokenReduction


class PlainEngine:
    """The model's own forward."""

    dtypes = FLOATING
    scopes = tuple(SCOPES)
    on_gpus = True

    def attentions(self, scope: str) -> tuple[str, ...]:
        """Return all kernels of `fastast.attention`."""
        return ATTENTION_KERNELS

    def require(self) -> None:
        """Do nothing: PyTorch is always installed."""

    def arm(
        self,
        cell: Cell,
        model: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
        *,
        batch_size: int | None,
        frontend: Frontend | None = None,
    ) -> Callable[[Tensor], Tensor]:
        """Return a copy of the model that shares its weights, with the reduction, on the fastest attention."""
        from bench.cell.baselines.native import unmerged
        from bench.cell.inputs import FromWaveforms
        from fastast.hosts import reduce

        twin = unmerged(model)
        if reduction is not None:
            reduce(twin, reduction)
        return twin if frontend is None else FromWaveforms(frontend, twin, model.cls_token.dtype)

    def ran(
        self,
        cell: Cell,
        model: AudioSpectrogramTransformer,
        candidate: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
    ) -> Ran:
        """Return the candidate itself."""
        from bench.cell.engines.ran import Ran, tokens_that_left

        return Ran(forward=candidate, tokens=partial(tokens_that_left, candidate), engine=None)


ENGINE = PlainEngine()
