"""Device functions shared by several kernels; imported only when a kernel is first launched."""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def product(a, b, acc, ACC: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr):
    """Return acc + a b, on the matrix units, summed in ACC."""
    if WIDE:  # only in the interpreter, which would multiply the bits of bfloat16; the products are exact either way
        a = a.to(ACC)
        b = b.to(ACC)
    return tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)


@triton.jit
def load_rows(base, rows, limit, ROW: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, CHECK: tl.constexpr):
    """Load rows of width E as a (rows, EP) tile, padded with zeros. CHECK: whether rows may be beyond `limit`."""
    columns = tl.arange(0, EP)
    pointers = base + rows[:, None] * ROW + columns[None, :]
    # No mask where none is needed: it would cost an instruction per load.
    if CHECK and E == EP:
        tile = tl.load(pointers, mask=rows[:, None] < limit, other=0.0)
    elif CHECK:
        tile = tl.load(pointers, mask=(rows[:, None] < limit) & (columns[None, :] < E), other=0.0)
    elif E == EP:
        tile = tl.load(pointers)
    else:
        tile = tl.load(pointers, mask=columns[None, :] < E, other=0.0)
    return tile


@triton.jit
def store_rows(base, rows, limit, tile, ROW: tl.constexpr, E: tl.constexpr, EP: tl.constexpr):
    """Write a (rows, EP) tile to rows of width E, without its padding and the rows beyond `limit`."""
    columns = tl.arange(0, EP)
    mask = rows[:, None] < limit
    if E != EP:
        mask = mask & (columns[None, :] < E)
    tl.store(base + rows[:, None] * ROW + columns[None, :], tile.to(base.dtype.element_ty), mask=mask)
