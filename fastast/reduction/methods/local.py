"""Local merging: ToMe's matching among neighbours on the spectrogram.

The local half of ALGM (ALGM, CVPR 2024) by pairs: ALGM averages whole windows of k x k patches whose similarity is
above a threshold, so that the clip decides how many tokens go; here the `r` most similar pairs within reach of each
other merge, so that the schedule decides. A merged token is where its owner was. Only where fewer than `r` tokens of A
have one of B within reach do tokens beyond it merge, the nearest first, however similar others may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from fastast.reduction.choosing.compare import Heads, Metric, by_tokens_alone, compared, similarity
from fastast.reduction.choosing.matching import Order, merge_best
from fastast.reduction.choosing.partition import part
from fastast.reduction.methods.tome import pairing_macs
from fastast.reduction.needs import need_protected_prefix, need_reach
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, half_of_free, reduction_method
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class LocalOptions:
    """The window, and how tokens in it are compared."""

    window: Literal["time", "frequency", "both"] = "both"
    """Axes along which two tokens must be near each other to merge: time, frequency, or both (a neighbourhood)."""
    time: int = 2
    """Most patches that they may be apart in time, from 0; leave it out where the window is frequency."""
    frequency: int = 1
    """Most patches that they may be apart in frequency, from 0; leave it out where the window is time."""
    metric: Metric = "keys"
    """What tokens are compared by, as for tome."""
    heads: Heads = "mean"
    """Whether keys, queries and values are averaged over heads (mean) or concatenated (concat)."""
    order: Order = "position"
    """Order of the remaining tokens, as for tome; position keeps neighbours in different sets, A and B."""

    def __post_init__(self) -> None:
        for axis, usual in (("time", LocalOptions.time), ("frequency", LocalOptions.frequency)):
            reach = getattr(self, axis)
            if reach < 0:
                raise ValueError(f"{axis} is {reach}; give 0 patches or more")
            if self.window not in (axis, "both") and reach != usual:
                raise ValueError(
                    f"{axis} is {reach}, but the window is {self.window!r}; leave {axis} out or give "
                    f"window = {axis!r} or 'both'"
                )

    @property
    def reach(self) -> tuple[int | None, int | None]:
        """Most patches that two tokens may be apart along frequency and time, None for any number."""
        return (
            None if self.window == "time" else self.frequency,
            None if self.window == "frequency" else self.time,
        )


def local_limit(shape: BlockShape, options: LocalOptions, method: str = "local") -> int:
    """Return half of the free tokens.

    Raises ReductionError where the window reaches further than the grid, or a prefix token is not protected.
    """
    need_protected_prefix(shape, method)
    for axis, reach in enumerate(options.reach):
        if reach is not None:
            need_reach(shape, method, ("frequency", "time")[axis], reach, axis)
    return half_of_free(shape, options)


def _macs(shape: BlockShape, r: int, options: LocalOptions) -> int:
    return pairing_macs(shape, options.metric, options.heads)


@reduction_method(
    "local",
    label="local merging",
    options=LocalOptions,
    limit=local_limit,
    macs=_macs,
    at_input=by_tokens_alone,
    thresholds=True,
)
def local(tokens: BlockTokens, r: int, options: LocalOptions) -> MergePlan:
    """Merge the `r` most similar pairs of tokens within a window of time and frequency."""
    metric = compared(tokens, options.metric, options.heads)  # (b, n, w)
    sources, targets = part(tokens, "alternating")  # (b, a), (b, c)
    first = tokens.num_protected
    even, odd = slice(first + first % 2, None, 2), slice(first + 1 - first % 2, None, 2)
    scores = similarity(metric, even, odd)  # (b, a, c), -1 to 1
    gap = outside(tokens.places[:, even], tokens.places[:, odd], options.reach)
    # A patch outweighs any difference of cosines, so that all pairs within reach come first, and then the nearest.
    scores = scores - 4 * gap.to(scores.dtype)
    return merge_best(
        *(scores, r, sources, targets),
        num_tokens=tokens.num_tokens,
        num_protected=first,
        order=options.order,
        threshold=tokens.threshold,
        dead=tokens.dead,
    )


def outside(left: Tensor, right: Tensor, reach: tuple[int | None, int | None]) -> Tensor:
    """Return how many patches beyond reach of each other two places are, (b, a, 2) and (b, c, 2) -> (b, a, c).

    Summed over both axes; 0 within reach.
    """
    gap = left.new_zeros(left.shape[0], left.shape[1], right.shape[1])
    for axis, patches in enumerate(reach):
        if patches is not None:
            apart = (left[:, :, None, axis] - right[:, None, :, axis]).abs()  # (b, a, c)
            gap = gap + (apart - patches).clamp_min(0)
    return gap


METHOD = local
