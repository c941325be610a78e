"""Device code of the linear layer with exact GELU: one program per tile of the output.

`x` is (m, D), `weight` (O, D), `bias` (O,), `out` (m, O).
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803, E741, SIM300
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl

from fastast.kernels._triton.common import product

# log2 of Q, the upper tail of the normal distribution, on 0 ... 6: minimax polynomial with an error of at most 1.5e-6.
Q9 = tl.constexpr(4.99057684e-08)
Q8 = tl.constexpr(-1.3548572e-06)
Q7 = tl.constexpr(1.34467391e-05)
Q6 = tl.constexpr(-3.10112737e-05)
Q5 = tl.constexpr(-0.000604943198)
Q4 = tl.constexpr(0.00783951208)
Q3 = tl.constexpr(-0.0531952679)
Q2 = tl.constexpr(-0.458898306)
Q1 = tl.constexpr(-1.1511575)
Q0 = tl.constexpr(-0.999998569)


@triton.jit
def gelu(z, ACC: tl.constexpr):
    """Return z Φ(z) = max(z, 0) − |z| Q(|z|): few instructions, while erf takes as long as half the product."""
    if ACC == tl.float64:
        y = 0.5 * z * (1.0 + tl.erf(z * 0.7071067811865476))
    else:
        u = tl.minimum(tl.abs(z), 6.0)  # beyond, |z| Q(|z|) is below 6e-9
        q = Q9 * u + Q8
        q = q * u + Q7
        q = q * u + Q6
        q = q * u + Q5
        q = q * u + Q4
        q = q * u + Q3
        q = q * u + Q2
        q = q * u + Q1
        q = q * u + Q0
        y = tl.where(z < 0.0, 0.0, z) - u * tl.exp2(q)  # not tl.maximum, which would swallow what is not a number
    return y


@triton.jit(do_not_specialize=["m", "steps"])
def linear_gelu_forward(
    x, weight, bias, out, m, steps,
    O: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Compute one tile. steps: tiles of BK along D, given at run time so that the compiler does not unroll the loop."""
    # GROUP row tiles take turns over the columns, so programs that run together share x and weight in the L2 cache.
    program = tl.program_id(0)
    tiles_m = tl.cdiv(m, BM)
    tiles_o: tl.constexpr = (O + BN - 1) // BN
    group = program // (GROUP * tiles_o)
    height = tl.minimum(tiles_m - group * GROUP, GROUP)
    tile_m = group * GROUP + (program % (GROUP * tiles_o)) % height
    tile_o = (program % (GROUP * tiles_o)) // height

    rows = tile_m * BM + tl.arange(0, BM)
    columns = tile_o * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    # Rows and columns beyond the last read the last one again and are not written: the loop needs no mask for them.
    x_tile = x + tl.minimum(rows, m - 1).to(tl.int64)[:, None] * D + inner[None, :]  # (BM, BK)
    w_tile = weight + tl.minimum(columns, O - 1)[:, None] * D + inner[None, :]  # (BN, BK)
    acc = tl.zeros([BM, BN], ACC)
    for step in range(0, steps):
        k = step * BK
        if D % BK == 0:
            a = tl.load(x_tile + k)
            w = tl.load(w_tile + k)
        else:
            a = tl.load(x_tile + k, mask=inner[None, :] < D - k, other=0.0)
            w = tl.load(w_tile + k, mask=inner[None, :] < D - k, other=0.0)
        acc = product(a, tl.trans(w), acc, ACC, PRECISION, WIDE)

    z = acc + tl.load(bias + tl.minimum(columns, O - 1)).to(ACC)[None, :]
    y = gelu(z, ACC)
    pointers = out + rows.to(tl.int64)[:, None] * O + columns[None, :]
    if O % BN == 0:
        tl.store(pointers, y.to(out.dtype.element_ty), mask=rows[:, None] < m)
    else:
        tl.store(pointers, y.to(out.dtype.element_ty), mask=(rows[:, None] < m) & (columns[None, :] < O))
