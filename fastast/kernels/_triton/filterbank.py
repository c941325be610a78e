"""Device code of the filterbank before and after the FFT: one program per few frames, which may span clips.

`x` is (b, samples), `framed` (rows, FFT), `spectrum` (b, known, K, 2), `features` (b, frames, M), `first` (M,),
`weights` (M, WIDEST), `whole` (b,) the frames that are entirely within each clip.
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["samples", "known", "rows"])
def window_frames(
    x, window, framed, samples, known, rows,
    SHIFT: tl.constexpr, W: tl.constexpr, FFT: tl.constexpr, EMPHASIS: tl.constexpr, BF: tl.constexpr,
):  # fmt: skip
    """Write frames with their mean subtracted, pre-emphasised, windowed and padded with zeros to the FFT's length."""
    row = tl.program_id(0) * BF + tl.arange(0, BF)
    column = tl.arange(0, FFT)
    inside = (row < rows)[:, None] & (column < W)[None, :]
    begin = (row // known).to(tl.int64) * samples + (row % known) * SHIFT
    here = tl.load(x + begin[:, None] + column[None, :], mask=inside, other=0.0)
    # The previous sample, or the first one itself: read from the cache, as shifting registers would take a shuffle.
    before = tl.load(x + begin[:, None] + tl.maximum(column - 1, 0)[None, :], mask=inside, other=0.0)
    mean = tl.sum(here, 1) / W
    # Add the mean of what is left: the first mean is rounded at the precision of the offset, not of the sound.
    mean += tl.sum(tl.where(inside, here - mean[:, None], 0.0), 1) / W
    emphasised = (here - mean[:, None]) - EMPHASIS * (before - mean[:, None])
    shape = tl.load(window + column, mask=column < W, other=0.0)
    out = row.to(tl.int64)[:, None] * FFT + column[None, :]
    tl.store(framed + out, emphasised * shape[None, :], mask=(row < rows)[:, None] & (column < FFT)[None, :])


@triton.jit(do_not_specialize=["frames", "known", "rows", "mean", "scale"])
def mel_energies(
    spectrum, first, weights, features, whole, frames, known, rows, mean, scale,
    K: tl.constexpr, M: tl.constexpr, MP: tl.constexpr, WIDEST: tl.constexpr, FLOOR: tl.constexpr,
    HAS_LENGTHS: tl.constexpr, BF: tl.constexpr,
):  # fmt: skip
    """Write (log energy − `mean`) · `scale` for each filter; in frames outside of the clip, the log energy is zero."""
    row = tl.program_id(0) * BF + tl.arange(0, BF)
    mel = tl.arange(0, MP)
    clip, frame = row // frames, row % frames
    limit = tl.zeros([BF], tl.int32) + known
    if HAS_LENGTHS:
        limit = tl.minimum(limit, tl.load(whole + clip, mask=row < rows, other=0))
    exists = (row < rows) & (frame < limit)
    start = tl.load(first + mel, mask=mel < M, other=0)
    base = (clip.to(tl.int64) * known + frame) * (2 * K)
    energy = tl.zeros([BF, MP], tl.float32)
    for step in tl.static_range(WIDEST):
        number = start + step
        # Beyond the last bin, weights are zero and there is nothing to read.
        mask = exists[:, None] & ((mel < M) & (number < K))[None, :]
        at = base[:, None] + 2 * number[None, :]
        real = tl.load(spectrum + at, mask=mask, other=0.0)
        imaginary = tl.load(spectrum + at + 1, mask=mask, other=0.0)
        weight = tl.load(weights + mel * WIDEST + step, mask=mel < M, other=0.0)
        energy += weight[None, :] * (real * real + imaginary * imaginary)
    value = tl.where(exists[:, None], tl.log(tl.maximum(energy, FLOOR)), 0.0)
    out = row.to(tl.int64)[:, None] * M + mel[None, :]
    tl.store(features + out, (value - mean) * scale, mask=(row < rows)[:, None] & (mel < M)[None, :])
