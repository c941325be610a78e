"""How the engine chooses tokens: with a method in plain torch, or with kernels that make the same choice faster.

Shapes: `b` batch, `n` tokens, `h` heads, `e` width of a head, `d` = h e.

A method with static shapes runs inside a captured graph unchanged; its plan is packed for the kernel that merges.
Kernels that make a method's choice are optional accelerators: no method needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastast.engine.kernel_table import KernelTable
from fastast.kernels.flat_plan import FlatPlan
from fastast.reduction.forward.scope import Scope
from fastast.reduction.methods.tome import ToMeOptions

if TYPE_CHECKING:
    from fastast.reduction import AttachedReduction, BlockTokens, TokenReduction


class PackedHeads(tuple[Tensor, Tensor, Tensor]):
    """Queries, keys and values, (b, h, n, e) each, as views of the linear layer's output."""

    qkv: Tensor
    """(b, n, 3d), the linear layer's output."""

    @classmethod
    def of(cls, qkv: Tensor, num_heads: int) -> PackedHeads:
        """Return the heads of qkv, (b, n, 3d)."""
        b, n, width = qkv.shape
        heads = qkv.view(b, n, 3, num_heads, width // 3 // num_heads).permute(2, 0, 3, 1, 4)  # (3, b, h, n, e)
        made = cls(heads.unbind(0))
        made.qkv = qkv
        return made


Accelerator = Callable[[KernelTable, "BlockTokens", int, Scope], FlatPlan]


def accelerator_of(reduction: TokenReduction) -> Accelerator | None:
    """Return the function that makes a method's choice with kernels, or None where plain torch makes it."""
    return _tome if reduction.method == "tome" and reduction.options == ToMeOptions() else None


class Chooser:
    """Makes plans for the kernels, and caches those that depend on shapes alone."""

    def __init__(self, kernels: KernelTable, scope: Scope) -> None:
        """Choose with `kernels`; each of them runs inside `scope`."""
        self._kernels, self._scope = kernels, scope
        # Made once, as the oracle must cost nothing, and kept as long as the engine, whose graphs hold their addresses.
        self._static: dict[tuple[int, int, int, int, torch.device], FlatPlan] = {}
        self._drawn: dict[int, Tensor] = {}  # by address: random numbers, which graphs read too

    @torch.no_grad()
    def __call__(self, tokens: BlockTokens, r: int, attached: AttachedReduction) -> FlatPlan:
        """Return the plan that removes `r` tokens."""
        fast = accelerator_of(attached.reduction)
        if fast is not None:
            return fast(self._kernels, tokens, r, self._scope)
        plan = attached.choose(tokens, r)
        self._drawn |= {numbers.data_ptr(): numbers for numbers in tokens.drawn}
        if plan.merged is None and isinstance(plan.owner, slice) and plan.weight is None:
            kept = plan.owner.indices(tokens.num_tokens)
            key = (tokens.batch, tokens.num_tokens, kept[0], kept[1], tokens.device)
            if kept[2] == 1:
                if key not in self._static:
                    self._static[key] = FlatPlan.of(plan, tokens.batch, tokens.device)
                return self._static[key]
        return FlatPlan.of(plan, tokens.batch, tokens.device)


def _tome(kernels: KernelTable, tokens: BlockTokens, r: int, scope: Scope) -> FlatPlan:
    """Make ToMe's choice with its default options: (b, n, 3d) -> the plan, with three functions of the kernel table."""
    heads = tokens.heads
    assert isinstance(heads, PackedHeads)
    with scope(tokens.block, "key metric"):
        metric = kernels.key_metric(heads.qkv, tokens.shape.num_heads)
    with scope(tokens.block, "best partner"):
        best, partner = kernels.best_partner(metric, tokens.num_protected)
    with scope(tokens.block, "merge plan"):
        plan: FlatPlan = kernels.merge_plan(best, partner, tokens.num_tokens, r, tokens.num_protected)
    return plan


def why_not_reduction(reduction: TokenReduction | None) -> str:
    """Return the reason why the kernels cannot run a reduction, as a sentence; an empty string where they can."""
    if reduction is None:
        return ""
    if reduction.place != "between":
        return f"the kernels merge between attention and MLP, but the reduction's place is {reduction.place!r}"
    if reduction.threshold is not None:
        return "the kernels need to know the number of tokens in advance, but with a threshold each clip sets its own"
    if not reduction.registered.cannot:
        return ""
    return f"the kernels cannot reduce by {reduction.method!r}: {reduction.registered.cannot}"
