"""Device code of residual sum, merging and LayerNorm: one program per slot.

`x`, `y` are (b, n, D), `size` (b, n), `owner` and `new_size` (b, p), `start` (b, p + 1), `source` (b, r), `merged` and
`normed` (b, p, D). BD is D padded to a power of two.
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n", "p", "r"])
def merge_norm_forward(
    x, y, size, owner, start, source, weight, bias, merged, normed, new_size, n, p, r,
    D: tl.constexpr, EPS: tl.constexpr, HAS_SIZE: tl.constexpr, AS_LONG: tl.constexpr, BD: tl.constexpr,
    U: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Merge one slot. U: merged tokens read at a time. AS_LONG: whether a mean gets the length of its longest token."""
    slot = tl.program_id(0).to(tl.int64)
    clip = (tl.program_id(0) // p).to(tl.int64)
    columns = tl.arange(0, BD)
    inside = columns < D
    token = clip * n + tl.load(owner + slot)
    begin = tl.load(start + slot + clip)  # `start` has one number more a clip than there are slots
    end = tl.load(start + slot + clip + 1)
    at = token * D + columns
    mean = tl.load(x + at, mask=inside, other=0.0).to(ACC) + tl.load(y + at, mask=inside, other=0.0).to(ACC)
    mass = tl.load(size + token).to(ACC) if HAS_SIZE else (token * 0 + 1).to(ACC)
    if end > begin:
        longest = tl.sum(mean * mean, 0)
        mean = mean * mass
        for first in range(begin, end, U):
            k = first + tl.arange(0, U)
            joins = k < end
            tokens = clip * n + tl.load(source + clip * r + k, mask=joins, other=0)
            share = tl.load(size + tokens, mask=joins, other=0.0).to(ACC) if HAS_SIZE else joins.to(ACC)
            tile = tokens[:, None] * D + columns[None, :]
            mask = joins[:, None] & inside[None, :]
            rows = tl.load(x + tile, mask=mask, other=0.0).to(ACC) + tl.load(y + tile, mask=mask, other=0.0).to(ACC)
            mean += tl.sum(rows * share[:, None], 0)
            mass += tl.sum(share, 0)
            if AS_LONG:
                longest = tl.maximum(longest, tl.max(tl.sum(rows * rows, 1), 0))
        mean = mean / mass
        if AS_LONG:
            length = tl.sum(mean * mean, 0)
            mean = mean * tl.sqrt(longest / tl.maximum(length, 1e-30))
    tl.store(new_size + slot, mass.to(new_size.dtype.element_ty))
    out = slot * D + columns
    tl.store(merged + out, mean.to(merged.dtype.element_ty), mask=inside)
    centred = tl.where(inside, mean - tl.sum(mean, 0) / D, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / D + EPS)
    w = tl.load(weight + columns, mask=inside, other=0.0).to(ACC)
    shift = tl.load(bias + columns, mask=inside, other=0.0).to(ACC)
    tl.store(normed + out, (centred * scale * w + shift).to(normed.dtype.element_ty), mask=inside)
