"""Device code of weighted attention; docs/kernels.md explains its design.

`qkv` is (b, n, 3, H, E), `size` (b, n), `out` (b, n, H, E), `lse` (b, H, n). EP is E padded to a power of two.
Scores are kept in base 2: the hardware has exp2, and log2(e) is part of the scale.
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803, SIM108
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl

from fastast.kernels._triton.common import load_rows, product, store_rows

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def load_sizes(size, keys, n, ACC: tl.constexpr, CHECK: tl.constexpr):
    """Return the size of each key; zero for keys beyond the last, which removes them from the sum."""
    if CHECK:
        sizes = tl.load(size + keys, mask=keys < n, other=0.0)
    else:
        sizes = tl.load(size + keys)
    return sizes.to(ACC)


@triton.jit
def attend(
    q, acc, top, total, k_base, v_base, size, start, n,
    ROW: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, BN: tl.constexpr, SCALE2: tl.constexpr,
    HAS_SIZE: tl.constexpr, CHECK: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Add one tile of keys: raise the running maximum, rescale the sums so far, add the tile's."""
    keys = start + tl.arange(0, BN)
    k = load_rows(k_base, keys, n, ROW, E, EP, CHECK)  # (BN, EP)
    scores = product(q, tl.trans(k), tl.zeros([q.shape[0], BN], ACC), ACC, PRECISION, WIDE)  # (BM, BN)
    if CHECK:
        scores = tl.where((keys < n)[None, :], scores, float("-inf"))
    # The scale is positive, so the maximum can be taken before scaling: scale and shift are then one instruction.
    new_top = tl.maximum(top, tl.max(scores, 1) * SCALE2)
    p = tl.exp2(scores * SCALE2 - new_top[:, None])
    if HAS_SIZE:
        # exp(s + log size) = size exp(s): one multiplication, where a logarithm would be some 20 instructions.
        p = p * load_sizes(size, keys, n, ACC, CHECK)[None, :]
    shrink = tl.exp2(top - new_top)
    total = total * shrink + tl.sum(p, 1)
    v = load_rows(v_base, keys, n, ROW, E, EP, CHECK)  # (BN, EP)
    acc = product(p.to(v.dtype), v, acc * shrink[:, None], ACC, PRECISION, WIDE)  # (BM, EP)
    return acc, new_top, total


@triton.jit(do_not_specialize=["n"])
def attention_forward(
    qkv, size, out, lse, n,
    H: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, SCALE: tl.constexpr, HAS_SIZE: tl.constexpr,
    SAVE_LSE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Attend with BM queries of one head to all keys."""
    ROW: tl.constexpr = 3 * H * E
    SCALE2: tl.constexpr = SCALE * LOG2_E
    tiles = tl.cdiv(n, BM)
    # Programs that run together share a head: its keys and values stay in the L2 cache.
    program = tl.program_id(0)
    head = (program // tiles) % H
    b = (program // tiles // H).to(tl.int64)
    base = qkv + b * n * ROW + head * E
    size += b * n
    rows = (program % tiles) * BM + tl.arange(0, BM)
    q = load_rows(base, rows, n, ROW, E, EP, True)  # (BM, EP)

    top = tl.full([BM], -1e30, ACC)  # finite: infinity minus infinity is not a number
    total = tl.zeros([BM], ACC)
    acc = tl.zeros([BM, EP], ACC)
    whole = n // BN * BN
    for start in range(0, whole, BN):
        acc, top, total = attend(
            q, acc, top, total, base + H * E, base + 2 * H * E, size, start, n,
            ROW, E, EP, BN, SCALE2, HAS_SIZE, False, ACC, PRECISION, WIDE,
        )  # fmt: skip
    if whole < n:  # only the last tile of keys has a mask
        acc, top, total = attend(
            q, acc, top, total, base + H * E, base + 2 * H * E, size, whole, n,
            ROW, E, EP, BN, SCALE2, HAS_SIZE, True, ACC, PRECISION, WIDE,
        )  # fmt: skip

    store_rows(out + b * n * (H * E) + head * E, rows, n, acc / total[:, None], H * E, E, EP)
    if SAVE_LSE:
        tl.store(lse + (b * H + head) * n + rows, top + tl.log2(total), mask=rows < n)
