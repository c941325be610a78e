"""Device code of the metric: one program per run of tokens, which may span clips.

`qkv` is (rows, 3, H, E), `metric` (rows, E). EP is E padded to a power of two.
"""

# Compile-time arguments are in capitals, and device code has no Python types.
# ruff: noqa: N803
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl

from fastast.kernels._triton.common import load_rows, store_rows


@triton.jit(do_not_specialize=["rows"])
def key_metric_forward(
    qkv, metric, rows,
    H: tl.constexpr, E: tl.constexpr, EP: tl.constexpr, BM: tl.constexpr, SMALLEST: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    tokens = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    total = tl.zeros([BM, EP], ACC)
    # Unrolled, so that the loads of all heads are in flight at once: nothing else hides their latency.
    for h in tl.static_range(H):
        total += load_rows(qkv + (H + h) * E, tokens, rows, 3 * H * E, E, EP, True).to(ACC)
    mean = total / H
    length = tl.sqrt(tl.sum(mean * mean, 1))
    store_rows(metric, tokens, rows, mean / tl.maximum(length, SMALLEST)[:, None], E, E, EP)
