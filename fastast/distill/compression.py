"""Logits kept in part: the k best of every clip, and one number for all the others.

Shapes: `b` batch, `c` classes, `k` kept classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastast.distill.distillation import DistillationError


def compress(logits: Tensor, k: int, activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the k best logits (b, k) with their classes (b, k), and one logit (b,) that represents all the others.

    It has the others' mean probability, so that at temperature 1 the sum of the probabilities is preserved, and with
    `softmax` so are the k best probabilities. The other probabilities are off by at most the k-th best one.
    Raises DistillationError for a `k` that is not from 1 to c.
    """
    c = logits.shape[1]
    if not 1 <= k <= c:
        raise DistillationError(f"targets: k is {k}; the teacher has {c} classes, so it must be from 1 to {c}")
    values, classes = logits.float().topk(k, dim=1)
    if k == c:
        return values, classes, values[:, -1]
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, classes, False)
    rest = logits.double()[others].view(len(logits), c - k)
    if activation == "softmax":
        fill = rest.logsumexp(1) - math.log(c - k)
    else:
        log_mean = torch.nn.functional.logsigmoid(rest).logsumexp(1) - math.log(c - k)
        fill = log_mean - torch.log(-torch.expm1(log_mean))  # the logit of the mean probability
    return values, classes, torch.minimum(fill.float(), values[:, -1])


def decompress(values: Tensor, classes: Tensor, rest: Tensor, num_classes: int) -> Tensor:
    """Undo `compress` as far as possible: return logits (b, c)."""
    logits = rest[:, None].repeat(1, num_classes)
    return logits.scatter_(1, classes, values)
