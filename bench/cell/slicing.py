"""The method `slice`: the same number of tokens for free, the limit of what any method can gain.

Importing this module registers it.
Shapes: `b` batch, `n` tokens, `d` width.
"""

from __future__ import annotations

from torch import Tensor

from fastast.reduction import MergePlan, register_method


def _all_unprotected(num_tokens: int, num_protected: int) -> int:
    return max(0, num_tokens - num_protected)


@register_method("slice", limit=_all_unprotected)
def keep_first(metric: Tensor, size: Tensor | None, r: int, *, num_protected: int, order: str = "tome") -> MergePlan:
    """Drop the last `r` tokens without looking at them; metric: (b, n, d)."""
    num_tokens = metric.shape[1]
    return MergePlan(num_tokens=num_tokens, owner=slice(0, num_tokens - r))
