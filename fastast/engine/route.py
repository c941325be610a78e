"""The route of the tokens through the blocks: what a reduction asks of the engine, and whether it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastast.geometry import Geometry

if TYPE_CHECKING:
    from fastast.reduction import TokenReduction

MERGES, DROPS = "tome", "slice"
"""The methods the engine knows: bipartite soft matching, and the oracle that keeps the first tokens of every block."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """A reduction resolved for one geometry."""

    method: str | None
    """One of the methods above; None without a reduction."""
    removals: tuple[int, ...]
    """Tokens that each block removes."""
    num_protected: int
    """Leading tokens that are never merged."""
    proportional: bool
    """Whether a token counts by its size in attention."""
    num_prefix: int
    """Leading tokens that the head reads."""

    @property
    def short_last_block(self) -> bool:
        """Whether only the head's tokens need the last block: always, but where it could merge them."""
        return self.removals[-1] == 0 or self.num_protected >= self.num_prefix


def plan_route(geometry: Geometry, reduction: TokenReduction | None) -> Route:
    """Return the route of `reduction`. Raises ReductionError where the geometry cannot do it."""
    prefix = geometry.num_prefix_tokens
    if reduction is None:
        return Route(
            method=None,
            removals=(0,) * geometry.depth,
            num_protected=prefix,
            proportional=False,
            num_prefix=prefix,
        )
    return Route(
        method=reduction.method,
        removals=reduction.removals(geometry),
        num_protected=reduction.protected(geometry),
        proportional=reduction.proportional,
        num_prefix=prefix,
    )


def why_not_reduction(reduction: TokenReduction | None) -> str:
    """Why the kernels cannot do a reduction, as a sentence; empty where they can."""
    if reduction is None or reduction.method == DROPS:
        return ""
    if reduction.method != MERGES:
        return f"the kernels merge by {MERGES!r}, not by {reduction.method!r}"
    if reduction.metric != "keys":
        return f"the kernels compare tokens by their keys, not by metric={reduction.metric!r}"
    if reduction.order != "tome":
        return f"the kernels leave tokens in ToMe's order, not in order={reduction.order!r}"
    return ""
