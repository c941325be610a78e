"""Device code of the gradients of residual sum, merging and LayerNorm: one program per run of slots.

`merged` and its gradients are (b, p, D), `size` (b, n), `owner` and `new_size` (b, p), `start` (b, p + 1), `source`
(b, r), `grad` and `narrow` (b, n, D), `partial` (2, programs, D). BD is D padded to a power of two.
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n", "p", "r", "slots", "per_program", "programs"])
def merge_norm_grad(
    grad_merged, grad_normed, merged, size, new_size, owner, start, source, weight, grad, narrow, partial,
    n, p, r, slots, per_program, programs,
    D: tl.constexpr, EPS: tl.constexpr, HAS_SIZE: tl.constexpr, BD: tl.constexpr, ACC: tl.constexpr,
    NARROW: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of every token, and this program's share of those of weight and bias.

    With x̂ the normalised slot and g = grad_normed · weight, a slot's gradient is that of its mean,
    grad_merged + (g − mean(g) − x̂ mean(g x̂)) / deviation; a token's is that times its size over the slot's.
    NARROW: whether it is also written to `narrow`, in the dtype of the addend whose dtype is not the sum's.
    """
    program = tl.program_id(0)
    columns = tl.arange(0, BD)
    inside = columns < D
    w = tl.load(weight + columns, mask=inside, other=0.0).to(ACC)
    sum_weight = tl.zeros([BD], ACC)
    sum_bias = tl.zeros([BD], ACC)
    for turn in range(0, tl.minimum(per_program, slots - program * per_program)):
        number = program * per_program + turn
        clip = (number // p).to(tl.int64)
        slot = number.to(tl.int64)
        row = slot * D + columns
        mean = tl.load(merged + row, mask=inside, other=0.0).to(ACC)
        g_normed = tl.load(grad_normed + row, mask=inside, other=0.0).to(ACC)
        g_merged = tl.load(grad_merged + row, mask=inside, other=0.0).to(ACC)
        centred = tl.where(inside, mean - tl.sum(mean, 0) / D, 0.0)
        scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / D + EPS)
        unit = centred * scale
        sum_weight += g_normed * unit
        sum_bias += g_normed
        g = g_normed * w
        g = g_merged + (g - tl.sum(g, 0) / D - unit * (tl.sum(g * unit, 0) / D)) * scale

        begin = tl.load(start + slot + clip)  # `start` has one number more a clip than there are slots
        end = tl.load(start + slot + clip + 1)
        token = clip * n + tl.load(owner + slot)
        if end > begin:
            g = g / tl.load(new_size + slot).to(ACC)
            own = g * tl.load(size + token).to(ACC) if HAS_SIZE else g
            tl.store(grad + token * D + columns, own.to(grad.dtype.element_ty), mask=inside)
            if NARROW:
                tl.store(narrow + token * D + columns, own.to(narrow.dtype.element_ty), mask=inside)
            for k in range(begin, end):
                token = clip * n + tl.load(source + clip * r + k)
                share = g * tl.load(size + token).to(ACC) if HAS_SIZE else g
                tl.store(grad + token * D + columns, share.to(grad.dtype.element_ty), mask=inside)
                if NARROW:
                    tl.store(narrow + token * D + columns, share.to(narrow.dtype.element_ty), mask=inside)
        else:
            tl.store(grad + token * D + columns, g.to(grad.dtype.element_ty), mask=inside)
            if NARROW:
                tl.store(narrow + token * D + columns, g.to(narrow.dtype.element_ty), mask=inside)
    tl.store(partial + program * D + columns, sum_weight, mask=inside)
    tl.store(partial + (programs + program) * D + columns, sum_bias, mask=inside)
