"""Device code of residual sum and LayerNorm: one program per row forward, one per run of rows backward.

`x`, `y`, `total`, `normed` and the gradients are (rows, D). BD is D padded to a power of two.
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_norm_forward(
    x, y, weight, bias, total, normed,
    D: tl.constexpr, EPS: tl.constexpr, BD: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * D
    columns = tl.arange(0, BD)
    inside = columns < D
    s = tl.load(x + row + columns, mask=inside, other=0.0).to(ACC) + tl.load(
        y + row + columns, mask=inside, other=0.0
    ).to(ACC)
    tl.store(total + row + columns, s.to(total.dtype.element_ty), mask=inside)
    centred = tl.where(inside, s - tl.sum(s, 0) / D, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / D + EPS)
    w = tl.load(weight + columns, mask=inside, other=0.0).to(ACC)
    shift = tl.load(bias + columns, mask=inside, other=0.0).to(ACC)
    tl.store(normed + row + columns, (centred * scale * w + shift).to(normed.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows", "per_program", "programs"])
def add_norm_backward(
    grad_total, grad_normed, total, weight, grad, narrow, partial, rows, per_program, programs,
    D: tl.constexpr, EPS: tl.constexpr, BD: tl.constexpr, ACC: tl.constexpr, NARROW: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of each row of the sum, and this program's share of those of weight and bias.

    NARROW: whether the gradient is also written to `narrow`, in the dtype of the addend whose dtype is not the sum's.

    With x̂ the normalised row and g = grad_normed · weight: grad_total + (g − mean(g) − x̂ mean(g x̂)) / deviation.
    """
    program = tl.program_id(0)
    columns = tl.arange(0, BD)
    inside = columns < D
    w = tl.load(weight + columns, mask=inside, other=0.0).to(ACC)
    sum_weight = tl.zeros([BD], ACC)
    sum_bias = tl.zeros([BD], ACC)
    first = program.to(tl.int64) * per_program
    for r in range(0, tl.minimum(per_program, rows - program * per_program)):
        row = (first + r) * D
        s = tl.load(total + row + columns, mask=inside, other=0.0).to(ACC)
        g_normed = tl.load(grad_normed + row + columns, mask=inside, other=0.0).to(ACC)
        g_total = tl.load(grad_total + row + columns, mask=inside, other=0.0).to(ACC)
        # Mean and deviation are recomputed, not loaded: the row is in registers, and reading it is the main cost.
        centred = tl.where(inside, s - tl.sum(s, 0) / D, 0.0)
        scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / D + EPS)
        unit = centred * scale
        sum_weight += g_normed * unit
        sum_bias += g_normed
        g = g_normed * w
        inner = (g - tl.sum(g, 0) / D - unit * (tl.sum(g * unit, 0) / D)) * scale
        tl.store(grad + row + columns, (g_total + inner).to(grad.dtype.element_ty), mask=inside)
        if NARROW:
            tl.store(narrow + row + columns, (g_total + inner).to(narrow.dtype.element_ty), mask=inside)
    tl.store(partial + program * D + columns, sum_weight, mask=inside)
    tl.store(partial + (programs + program) * D + columns, sum_bias, mask=inside)
