"""The forward of a model on the kernels, for any batch size.

Shapes: `b` batch, `f` frames, `m` mel bins, `n` tokens, `d` width, `c` classes.
"""

from __future__ import annotations

from torch import Tensor

from fastast.engine.kernel_table import KernelTable
from fastast.engine.packed_stages import PackedStages, read_out
from fastast.engine.weights import EngineWeights
from fastast.reduction import AttachedReduction, MergeTrace
from fastast.reduction.forward.encode import encode
from fastast.reduction.forward.scope import OUTSIDE, Scope, unwatched


class PackedForward:
    """A forward as a callable: a model's packed weights, its reduction and the kernels that it runs on."""

    def __init__(
        self,
        weights: EngineWeights,
        attached: AttachedReduction | None,
        kernels: KernelTable,
        scope: Scope = unwatched,
    ) -> None:
        """Run `weights` with `attached` on `kernels`; every part of the forward runs inside `scope`."""
        self.weights, self.attached, self.kernels = weights, attached, kernels
        self._scope = scope
        self._stages = PackedStages(weights, kernels, scope)

    def watched(self, scope: Scope) -> PackedForward:
        """Return the same forward with every part run inside `scope`."""
        return PackedForward(self.weights, self.attached, self.kernels, scope)

    def __call__(self, fbank: Tensor, trace: MergeTrace | None = None) -> Tensor:
        """Return logits (b, c) in the dtype of the weights, of a normalised filterbank (b, f, m) on their device.

        `trace` records every merge, and the tokens that left each block that computes all of its tokens.
        """
        ends = self.weights.ends
        with self._scope(OUTSIDE, "patch tokens"):
            x = self.kernels.patch_tokens(
                fbank, ends.patch.weight, ends.patch.bias, ends.prefix, ends.pos_embed, ends.stride
            )  # (b, n, d)
        _, normed, size = encode(self._stages, x, self.attached, trace=trace, scope=self._scope)
        if self.attached is not None and not self.attached.reduction.weighted_pooling:
            size = None
        with self._scope(OUTSIDE, "head"):
            return read_out(self.weights, normed, size)  # (b, c)
