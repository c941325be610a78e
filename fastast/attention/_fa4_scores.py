"""The score function for FlashAttention-4, in CuTe's language for GPU code. Imported only on first use.

Interface as of flash-attn-4 4.0.0b27 (commit 0251105, `flash_attn/cute/softmax.py`): scores arrive scaled, in float32,
and as many at a time as a function requests, which is one where it reads a tensor.
"""

# The arguments that the compiler passes have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import cutlass
import cutlass.cute as cute


@cute.jit
def add_log_size(scores, b_idx, h_idx, q_idx, kv_idx, seqlen_info, aux_tensors):
    """Return score + log size of its key; aux_tensors: [log sizes (b, n) float32]."""
    log_size = aux_tensors[0]
    found = cute.make_rmem_tensor(1, cutlass.Float32)
    found[0] = log_size[b_idx[0], kv_idx[0]]
    return scores + found.load()


@cute.jit
def pass_gradient(grad, scores, b_idx, h_idx, q_idx, kv_idx, seqlen_info, aux_tensors):
    """Return the gradient of the score, which a sum passes on unchanged; sizes get none."""
    return grad
