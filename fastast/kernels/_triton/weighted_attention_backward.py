"""Device code of the backward pass of weighted attention.

`qkv` and `grad_qkv` are (b, n, 3, H, E), `size` (b, n), `out` and `grad` (b, n, H, E), `lse` and `delta` (b, H, n).
With s = q kᵀ · SCALE and p = size · exp(s − lse): dv = pᵀ do, ds = p (do vᵀ − delta), dq = ds k, dk = dsᵀ q.
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803, SIM108
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl

from fastast.kernels._triton.common import load_rows, product, store_rows
from fastast.kernels._triton.weighted_attention import LOG2_E, load_sizes


@triton.jit
def add_to_grad_q(
    grad_q, q, do, lse, delta, k_base, v_base, size, start, n,
    ROW: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, SCALE2: tl.constexpr,
    HAS_SIZE: tl.constexpr, CHECK: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Add one tile of keys to dQ."""
    keys = start + tl.arange(0, BN)
    k = load_rows(k_base, keys, n, ROW, E, EP, CHECK)  # (BN, EP)
    v = load_rows(v_base, keys, n, ROW, E, EP, CHECK)  # (BN, EP)
    scores = product(q, tl.trans(k), tl.zeros([BM, BN], ACC), ACC, PRECISION, WIDE)
    if CHECK:  # keys beyond the last are zero, but where all scores are far below zero their weight would be infinite
        scores = tl.where((keys < n)[None, :], scores, float("-inf"))
    p = tl.exp2(scores * SCALE2 - lse[:, None])
    if HAS_SIZE:
        p = p * load_sizes(size, keys, n, ACC, CHECK)[None, :]
    dp = product(do, tl.trans(v), tl.zeros([BM, BN], ACC), ACC, PRECISION, WIDE)
    ds = p * (dp - delta[:, None])
    return product(ds.to(k.dtype), k, grad_q, ACC, PRECISION, WIDE)  # (BM, EP)


@triton.jit(do_not_specialize=["n"])
def attention_grad_q(
    qkv, size, out, grad, lse, delta, grad_qkv, n,
    H: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, SCALE: tl.constexpr, HAS_SIZE: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Compute dQ of BM queries of one head, and their delta = sum(out · grad), which the second kernel reads."""
    ROW: tl.constexpr = 3 * H * E
    SCALE2: tl.constexpr = SCALE * LOG2_E
    tiles = tl.cdiv(n, BM)
    program = tl.program_id(0)
    head = (program // tiles) % H
    b = (program // tiles // H).to(tl.int64)
    base = qkv + b * n * ROW + head * E
    size += b * n
    rows = (program % tiles) * BM + tl.arange(0, BM)
    q = load_rows(base, rows, n, ROW, E, EP, True)  # (BM, EP)
    of_head = b * n * (H * E) + head * E
    do = load_rows(grad + of_head, rows, n, H * E, E, EP, True)  # (BM, EP)
    o = load_rows(out + of_head, rows, n, H * E, E, EP, True)  # (BM, EP)
    d = tl.sum(o.to(ACC) * do.to(ACC), 1)
    tl.store(delta + (b * H + head) * n + rows, d, mask=rows < n)
    top = tl.load(lse + (b * H + head) * n + rows, mask=rows < n, other=0.0)

    acc = tl.zeros([BM, EP], ACC)
    whole = n // BN * BN
    for start in range(0, whole, BN):
        acc = add_to_grad_q(
            acc, q, do, top, d, base + H * E, base + 2 * H * E, size, start, n,
            ROW, E, EP, BM, BN, SCALE2, HAS_SIZE, False, ACC, PRECISION, WIDE,
        )  # fmt: skip
    if whole < n:
        acc = add_to_grad_q(
            acc, q, do, top, d, base + H * E, base + 2 * H * E, size, whole, n,
            ROW, E, EP, BM, BN, SCALE2, HAS_SIZE, True, ACC, PRECISION, WIDE,
        )  # fmt: skip
    store_rows(grad_qkv + b * n * ROW + head * E, rows, n, acc * SCALE, ROW, E, EP)


@triton.jit
def add_to_grad_kv(
    grad_k, grad_v, k, v, sizes, q_base, grad_base, lse, delta, start, n,
    ROW: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, H: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    SCALE2: tl.constexpr, HAS_SIZE: tl.constexpr, CHECK: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Add one tile of queries to dK and dV, with the matrix of attention weights transposed: (keys, queries)."""
    rows = start + tl.arange(0, BN)
    q = load_rows(q_base, rows, n, ROW, E, EP, CHECK)  # (BN, EP)
    do = load_rows(grad_base, rows, n, H * E, E, EP, CHECK)  # (BN, EP)
    if CHECK:
        top = tl.load(lse + rows, mask=rows < n, other=0.0)
        d = tl.load(delta + rows, mask=rows < n, other=0.0)
    else:
        top = tl.load(lse + rows)
        d = tl.load(delta + rows)
    scores = product(k, tl.trans(q), tl.zeros([BM, BN], ACC), ACC, PRECISION, WIDE)
    # Queries beyond the last need no mask: their weights are one, but their gradients, so all that they add, are zero.
    p = tl.exp2(scores * SCALE2 - top[None, :])
    if HAS_SIZE:
        p = p * sizes[:, None]
    grad_v = product(p.to(do.dtype), do, grad_v, ACC, PRECISION, WIDE)  # (BM, EP)
    dp = product(v, tl.trans(do), tl.zeros([BM, BN], ACC), ACC, PRECISION, WIDE)
    ds = p * (dp - d[None, :])
    grad_k = product(ds.to(q.dtype), q, grad_k, ACC, PRECISION, WIDE)  # (BM, EP)
    return grad_k, grad_v


@triton.jit(do_not_specialize=["n"])
def attention_grad_kv(
    qkv, size, out, grad, lse, delta, grad_qkv, n,
    H: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, SCALE: tl.constexpr, HAS_SIZE: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Compute dK and dV of BM keys of one head."""
    ROW: tl.constexpr = 3 * H * E
    SCALE2: tl.constexpr = SCALE * LOG2_E
    tiles = tl.cdiv(n, BM)
    program = tl.program_id(0)
    head = (program // tiles) % H
    b = (program // tiles // H).to(tl.int64)
    base = qkv + b * n * ROW + head * E
    keys = (program % tiles) * BM + tl.arange(0, BM)
    k = load_rows(base + H * E, keys, n, ROW, E, EP, True)  # (BM, EP)
    v = load_rows(base + 2 * H * E, keys, n, ROW, E, EP, True)  # (BM, EP)
    if HAS_SIZE:
        sizes = load_sizes(size + b * n, keys, n, ACC, True)
    else:
        sizes = tl.full([BM], 1.0, ACC)
    of_head = (b * H + head) * n
    grad_base = grad + b * n * (H * E) + head * E

    grad_k = tl.zeros([BM, EP], ACC)
    grad_v = tl.zeros([BM, EP], ACC)
    whole = n // BN * BN
    for start in range(0, whole, BN):
        grad_k, grad_v = add_to_grad_kv(
            grad_k, grad_v, k, v, sizes, base, grad_base, lse + of_head, delta + of_head, start, n,
            ROW, E, EP, H, BM, BN, SCALE2, HAS_SIZE, False, ACC, PRECISION, WIDE,
        )  # fmt: skip
    if whole < n:
        grad_k, grad_v = add_to_grad_kv(
            grad_k, grad_v, k, v, sizes, base, grad_base, lse + of_head, delta + of_head, whole, n,
            ROW, E, EP, H, BM, BN, SCALE2, HAS_SIZE, True, ACC, PRECISION, WIDE,
        )  # fmt: skip
    store = grad_qkv + b * n * ROW + head * E
    store_rows(store + H * E, keys, n, grad_k * SCALE, ROW, E, EP)
    store_rows(store + 2 * H * E, keys, n, grad_v, ROW, E, EP)
