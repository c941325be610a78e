"""Device code of the matching: one program per tile of one clip's set A, against all of its set B.

`metric` is (b, n, E), A its even rows and B its odd ones; `best` and `partner` are (b, a). EP is E padded.
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl

from fastast.kernels._triton.common import load_rows, product


@triton.jit(do_not_specialize=["n", "a", "c", "protected_a", "protected_b"])
def best_partner_forward(
    metric, best, partner, n, a, c, protected_a, protected_b,
    E: tl.constexpr, EP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(a, BM)
    clip = (tl.program_id(0) // tiles).to(tl.int64)
    i = (tl.program_id(0) % tiles) * BM + tl.arange(0, BM)
    columns = tl.arange(0, BN)
    base = metric + clip * n * E
    mine = load_rows(base, i, a, 2 * E, E, EP, True)  # (BM, EP)
    # Every column of the tile keeps its own maximum until the end: one reduction in all instead of one per step.
    top = tl.full([BM, BN], float("-inf"), ACC)
    where = tl.zeros([BM, BN], tl.int32) + columns[None, :]
    for start in range(0, c, BN):
        j = start + columns
        theirs = load_rows(base + E, j, c, 2 * E, E, EP, True)  # (BN, EP)
        score = product(mine, tl.trans(theirs), tl.zeros([BM, BN], ACC), ACC, PRECISION, False)
        better = (score > top) & ((j >= protected_b) & (j < c))[None, :]  # not >=: ties go to the lower index
        top = tl.where(better, score, top)
        where = tl.where(better, j[None, :], where)
    highest = tl.max(top, 1)
    lowest_index = tl.min(tl.where(top == highest[:, None], where, c), 1)
    protected = i < protected_a
    # Only a guard: `top` is never NaN, as no comparison with NaN holds, so something always compares equal.
    lowest_index = tl.where(protected | (lowest_index >= c), 0, lowest_index)
    highest = tl.where(protected, float("-inf"), highest)
    tl.store(best + clip * a + i, highest.to(tl.float32), mask=i < a)
    tl.store(partner + clip * a + i, lowest_index, mask=i < a)
