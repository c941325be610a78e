"""Device code of the patch embedding: one program per tile of tokens and channels of one clip.

`fbank` is (b, frames, M), `pixels` (D, P, P) with time before frequency, `prefix` (K, D), `positions` (n, D), `tokens`
(b, n, D). Patches are numbered with time varying fastest.
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl

from fastast.kernels._triton.common import product


@triton.jit(do_not_specialize=["n", "clip", "along_time"])
def patch_tokens_forward(
    fbank, pixels, bias, prefix, positions, tokens, n, clip, along_time,
    M: tl.constexpr, D: tl.constexpr, P: tl.constexpr, K: tl.constexpr, FS: tl.constexpr, TS: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    ACC: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Compute one tile. clip: number of values in one filterbank. along_time: number of patches along time."""
    AREA: tl.constexpr = P * P
    tiles_d: tl.constexpr = (D + BN - 1) // BN
    tiles_n = tl.cdiv(n, BM)
    program = tl.program_id(0)
    channels = (program % tiles_d) * BN + tl.arange(0, BN)
    rows = (program // tiles_d) % tiles_n * BM + tl.arange(0, BM)  # tokens of the clip, prefix first
    b = (program // tiles_d // tiles_n).to(tl.int64)
    inner = tl.arange(0, BK)

    patch = tl.maximum(rows - K, 0)  # prefix tokens read the first patch, and are overwritten below
    inside_clip = rows < n
    corner = (patch % along_time) * (TS * M) + (patch // along_time) * FS
    known = channels < D
    acc = tl.zeros([BM, BN], ACC)
    for k in range(0, AREA, BK):
        pixel = k + inner
        inside = pixel < AREA
        at = corner[:, None] + ((pixel // P) * M + pixel % P)[None, :]
        image = tl.load(fbank + b * clip + at, mask=inside_clip[:, None] & inside[None, :], other=0.0)  # (BM, BK)
        w = tl.load(
            pixels + channels[:, None] * AREA + pixel[None, :], mask=known[:, None] & inside[None, :], other=0.0
        )  # (BN, BK)
        acc = product(image.to(pixels.dtype.element_ty), tl.trans(w), acc, ACC, PRECISION, WIDE)

    acc += tl.load(bias + channels, mask=known, other=0.0).to(ACC)[None, :]
    at = rows[:, None] * D + channels[None, :]
    is_prefix = (rows < K)[:, None] & known[None, :]
    acc = tl.where(is_prefix, tl.load(prefix + at, mask=is_prefix, other=0.0).to(ACC), acc)
    mask = inside_clip[:, None] & known[None, :]
    acc += tl.load(positions + at, mask=mask, other=0.0).to(ACC)
    tl.store(tokens + b * n * D + at, acc.to(tokens.dtype.element_ty), mask=mask)
