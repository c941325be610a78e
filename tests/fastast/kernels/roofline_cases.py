"""The launches of a forward of AST-base in bfloat16, once each, whose code `docs/kernels.md` has in a table.

python -m tests.fastast.kernels.ahead_of_time tests/fastast/kernels/roofline_cases.py count > build/compiled.txt
python -m bench.gpu.roofline build/compiled.txt
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from fastast.kernels.add_norm import add_norm
from fastast.kernels.best_partner import best_partner
from fastast.kernels.flat_plan import FlatPlan
from fastast.kernels.key_metric import key_metric
from fastast.kernels.linear_gelu import linear_gelu
from fastast.kernels.merge_norm import merge_norm
from fastast.kernels.merge_plan import merge_plan
from fastast.kernels.patch_tokens import patch_tokens
from fastast.kernels.weighted_attention import weighted_attention

D, H, R, FIRST = 768, 12, 40, 1214
N = FIRST - R
"""Tokens of the second block, which is the first that has sizes."""
HALF = torch.bfloat16


def empty(*shape: int, dtype: torch.dtype = HALF) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


@torch.no_grad()
def forward(b: int) -> None:
    patch_tokens(empty(b, 1024, 128), empty(D, 1, 16, 16), empty(D), empty(2, D), empty(1, FIRST, D), (10, 10))
    qkv, size = empty(b, N, 3 * D), empty(b, N, dtype=torch.float32)
    weighted_attention(qkv, size, H)
    best, partner = best_partner(key_metric(qkv, H), 2)
    merge_plan(best, partner, N, R, 2)
    whole = {"dtype": torch.int32}
    plan = FlatPlan(owner=empty(b, N - R, **whole), start=empty(b, N - R + 1, **whole), source=empty(b, R, **whole))
    merge_norm(empty(b, N, D), empty(b, N, D), size, plan, empty(D), empty(D), 1e-6)
    linear_gelu(empty(b * (N - R), D), empty(4 * D, D), empty(4 * D))
    add_norm(empty(b, N - R, D), empty(b, N - R, D), empty(D), empty(D), 1e-6)


CASES: dict[str, Callable[[], None]] = {f"batch {b}": partial(forward, b) for b in (64, 1)}
NEWEST_ONLY = set(CASES)
"""The table is of an H100."""
