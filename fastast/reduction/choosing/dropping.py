"""Drop the tokens with the lowest scores.

Shapes: `b` batch, `n` tokens, `f` unprotected tokens, `p` remaining tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastast.reduction.choosing.matching import best_first
from fastast.reduction.plan import MergePlan


def drop_lowest(score: Tensor, r: int, *, num_protected: int) -> MergePlan:
    """Drop the `r` unprotected tokens with the lowest scores; the others keep their order.

    score: (b, n); those of protected tokens are ignored. Among equal scores, the lower position stays.
    """
    b, n = score.shape
    free = best_first(score[:, num_protected:])[:, : n - num_protected - r].sort(dim=1).values  # (b, p - protected)
    protected = torch.arange(num_protected, device=score.device).expand(b, -1)
    return MergePlan(num_tokens=n, owner=torch.cat([protected, free + num_protected], dim=1))
