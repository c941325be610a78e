"""Patch embedding that writes patches, prefix tokens and positions into one buffer of tokens.

Shapes: `b` batch, `f` frames, `m` mel bins, `p` side of a patch, `f'` and `t'` patches along frequency and time, `k`
prefix tokens, `n` = k + f' t' tokens, `d` width.

A convolution with one input channel is a product of unfolded patches (f' t', p²) with the weight (p², d). The patches
overlap (Gong et al. 2021, section 2), so they are gathered from the filterbank tile by tile and never written out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.kernels.launch import (
    SMALLEST_TILE,
    Tiling,
    cdiv,
    check_launch,
    dot_options,
    next_power_of_two,
    on_device,
    refuse_gradients,
)


def patch_tokens_reference(
    fbank: Tensor, weight: Tensor, bias: Tensor, prefix: Tensor, pos_embed: Tensor, stride: tuple[int, int]
) -> Tensor:
    """Embed overlapping patches of a filterbank as tokens with positions, in plain torch.

    fbank: (b, f, m). weight: (d, 1, p, p), frequency before time. bias: (d,). prefix: (k, d), class and distillation
    token. pos_embed: (1, n, d). stride: steps along frequency, in mel bins, and along time, in frames. Returns tokens
    (b, n, d) in the weight's dtype, patches with time varying fastest. Raises ValueError where shapes do not match.
    """
    _check(fbank, weight, bias, prefix, pos_embed, stride)
    image = fbank.transpose(1, 2).unsqueeze(1).to(weight.dtype)  # (b, 1, m, f)
    patches = F.conv2d(image, weight, bias, stride).flatten(2).transpose(1, 2)  # (b, f' t', d)
    return torch.cat([prefix.expand(len(fbank), -1, -1), patches], 1) + pos_embed  # (b, n, d)


def patch_tokens(
    fbank: Tensor, weight: Tensor, bias: Tensor, prefix: Tensor, pos_embed: Tensor, stride: tuple[int, int]
) -> Tensor:
    """Embed overlapping patches of a filterbank as tokens with positions, in one Triton kernel; for inference.

    Shapes and errors as for `patch_tokens_reference`. Also raises ValueError where the device cannot run Triton or a
    tensor requires gradients. The filterbank may be float32 with half-precision weights: it is rounded as it is read.
    """
    _check(fbank, weight, bias, prefix, pos_embed, stride)
    check_launch("patch_tokens", fbank=fbank, weight=weight, bias=bias, prefix=prefix, pos_embed=pos_embed)
    refuse_gradients("patch_tokens", fbank, weight, bias, prefix, pos_embed)
    from fastast.kernels._triton.patch_tokens import patch_tokens_forward

    b, frames, mel_bins = fbank.shape
    d, _, p, _ = weight.shape
    n = pos_embed.shape[1]
    tokens = weight.new_empty(b, n, d)
    if b == 0:
        return tokens
    # (d, time, frequency): mel bins of one frame are adjacent in memory, so make them adjacent in the product too.
    pixels = weight[:, 0].transpose(1, 2).contiguous()
    tiling = patch_tiling(d, weight.dtype)
    with on_device(fbank):
        patch_tokens_forward[(b * cdiv(n, tiling.block_m) * cdiv(d, tiling.block_n),)](
            fbank.contiguous(), pixels, bias.contiguous(), prefix.contiguous(), pos_embed.contiguous(), tokens, n,
            frames * mel_bins, (frames - p) // stride[1] + 1,
            M=mel_bins, D=d, P=p, K=prefix.shape[0], FS=stride[0], TS=stride[1],
            BM=tiling.block_m, BN=tiling.block_n, BK=tiling.block_k,
            num_warps=tiling.num_warps, num_stages=tiling.num_stages, **dot_options(weight.dtype),
        )  # fmt: skip
    return tokens


def patch_tiling(d: int, dtype: torch.dtype) -> Tiling:
    """Return the product's tiles, `block_m` tokens by `block_n` channels; wide tiles gather each patch less often."""
    if dtype.itemsize >= 4:
        return Tiling(block_m=32, block_n=32, block_k=32, num_warps=4, num_stages=2)
    block_n = max(SMALLEST_TILE, min(256, next_power_of_two(d)))
    return Tiling(block_m=64, block_n=block_n, block_k=64, num_warps=8 if block_n == 256 else 4, num_stages=3)


def _check(
    fbank: Tensor, weight: Tensor, bias: Tensor, prefix: Tensor, pos_embed: Tensor, stride: tuple[int, int]
) -> None:
    if fbank.ndim != 3:
        raise ValueError(f"patch_tokens: fbank has shape {tuple(fbank.shape)}; it must be (batch, frames, mel bins)")
    if weight.ndim != 4 or weight.shape[1] != 1 or weight.shape[2] != weight.shape[3]:
        raise ValueError(f"patch_tokens: weight has shape {tuple(weight.shape)}; it must be (d, 1, p, p)")
    d, _, p, _ = weight.shape
    _, frames, mel_bins = fbank.shape
    if frames < p or mel_bins < p:
        raise ValueError(f"patch_tokens: {frames} frames x {mel_bins} mel bins are too few for a patch of {p} x {p}")
    if min(stride) < 1:
        raise ValueError(f"patch_tokens: stride = {stride}; both steps must be 1 or more")
    n = prefix.shape[0] + ((mel_bins - p) // stride[0] + 1) * ((frames - p) // stride[1] + 1)
    if tuple(bias.shape) != (d,) or tuple(prefix.shape[1:]) != (d,):
        raise ValueError(
            f"patch_tokens: bias has shape {tuple(bias.shape)} and prefix {tuple(prefix.shape)}; they must be ({d},) "
            f"and (tokens, {d})"
        )
    if tuple(pos_embed.shape) != (1, n, d):
        raise ValueError(f"patch_tokens: pos_embed has shape {tuple(pos_embed.shape)}; it must be (1, {n}, {d})")
