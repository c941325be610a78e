"""The forward of an AST on the kernels, for any batch.

Shapes: `b` batch, `f` frames, `m` mel bins, `n` tokens, `d` width, `c` classes.
"""

from __future__ import annotations

from torch import Tensor

from fastast.engine.kernel_table import KernelTable
from fastast.engine.packed_stages import PackedStages, linear, norm
from fastast.engine.weights import PackedModel
from fastast.reduction import AttachedReduction, MergeTrace
from fastast.reduction.encode import encode
from fastast.reduction.scope import OUTSIDE, Scope, unwatched


class PackedForward:
    """A model's packed weights, its reduction and the kernels that it runs on, as a function."""

    def __init__(
        self,
        weights: PackedModel,
        attached: AttachedReduction | None,
        kernels: KernelTable,
        scope: Scope = unwatched,
    ) -> None:
        """`scope` is shown every part of a forward."""
        self.weights, self.attached, self.kernels = weights, attached, kernels
        self._scope = scope
        self._stages = PackedStages(weights, kernels, scope)

    def watched(self, scope: Scope) -> PackedForward:
        """Return the same forward under the eyes of `scope`."""
        return PackedForward(self.weights, self.attached, self.kernels, scope)

    def __call__(self, fbank: Tensor, trace: MergeTrace | None = None) -> Tensor:
        """Normalised filterbank (b, f, m), on the device of the weights, -> logits (b, c) in their dtype.

        `trace` notes what left each block that computes all of its tokens.
        """
        weights, geometry = self.weights, self.weights.geometry
        patch, stride = weights.patch, (geometry.fstride, geometry.tstride)
        with self._scope(OUTSIDE, "patch tokens"):
            x = self.kernels.patch_tokens(
                fbank, patch.weight, patch.bias, weights.prefix, weights.pos_embed, stride
            )  # (b, n, d)
        _, normed, _ = encode(self._stages, x, self.attached, trace=trace, scope=self._scope)
        with self._scope(OUTSIDE, "head"):
            pooled = normed[:, : geometry.num_prefix_tokens].mean(1)  # (b, d)
            return linear(norm(pooled, weights.head_norm), weights.head)  # (b, c)
