"""ALGM: merging is local in early blocks and global in later ones (ALGM, CVPR 2024).

The paper merges by thresholds in two blocks, the first and one halfway. Here the schedule decides where and how much,
so that the paper's form is `list:R,0,0,0,0,0,S,0,0,0,0,0`, and both halves merge pairs (see `local`; the global half is
ToMe's matching in the paper too).
"""

from __future__ import annotations

from dataclasses import dataclass

from fastast.reduction.choosing.compare import by_tokens_alone
from fastast.reduction.methods.local import LocalOptions, local, local_limit
from fastast.reduction.methods.tome import ToMeOptions, pairing_macs, tome
from fastast.reduction.needs import check_share, first_block_of
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, reduction_method
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class ALGMOptions(LocalOptions):
    """The window of early blocks, and how many blocks are early."""

    global_from: float = 0.5
    """Share of the blocks, from the first, that merge within the window; later ones merge across the spectrogram."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("algm", "global_from", self.global_from)


def _limit(shape: BlockShape, options: ALGMOptions) -> int:
    return local_limit(shape, options, "algm")


def _macs(shape: BlockShape, r: int, options: ALGMOptions) -> int:
    return pairing_macs(shape, options.metric, options.heads)


@reduction_method(
    "algm", label="ALGM", options=ALGMOptions, limit=_limit, macs=_macs, at_input=by_tokens_alone, thresholds=True
)
def algm(tokens: BlockTokens, r: int, options: ALGMOptions) -> MergePlan:
    """Merge the `r` most similar pairs, in early blocks within a window of time and frequency, later anywhere."""
    if tokens.block < first_block_of(options.global_from, tokens.depth):
        return local(tokens, r, options)
    anywhere = ToMeOptions(metric=options.metric, heads=options.heads, order=options.order)
    return tome(tokens, r, anywhere)


METHOD = algm
