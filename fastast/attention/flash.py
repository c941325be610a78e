"""Attention on flash kernels that take a bias per key: PyTorch's FlexAttention, and FlashAttention-4 where installed.

Shapes: `b` batch, `h` heads, `n` tokens, `d` width of a head.

Both apply a function of ours to every score before the softmax (Dong et al. 2024, arXiv 2412.05496, section 3), here
s + log size of the key, so that no column is added and no mask rules the kernel out. Interfaces as of PyTorch 2.14
(`torch.nn.attention.flex_attention`; its back end FLASH came with 2.10) and of flash-attn-4 4.0.0b27 to 4.0.0b36
(`flash_attn.cute`), whose forward compiles for sm_90 with our function. The parts that need a GPU have not run yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

FLASH_KERNELS = ("flex", "flex_flash", "fa4")
"""FlexAttention on its own back end, on FlashAttention-4 as its back end, and FlashAttention-4 called directly."""
LOG_OF_NOTHING = -1e4
"""Stands for the log of size 0: this low, a token weighs nothing, whereas two minus infinities could give NaN."""
_DTYPES = (torch.float16, torch.bfloat16)
_GENERATIONS = (9, 10, 11, 12)
"""Major compute capabilities on which FlashAttention-4 takes a score function; an A100 has 8."""


class MissingAttentionError(RuntimeError):
    """An attention kernel that cannot run here; the message says why, and what to install or choose instead."""


def why_not_flash(kernel: str, device: torch.device | str, dtype: torch.dtype | None = None) -> str:
    """Return why a kernel of `FLASH_KERNELS` cannot run on a device, as a sentence with what to do; empty where it can.

    `dtype` is that of queries, keys and values, where known.
    """
    device = torch.device(device)
    if kernel == "flex":
        return "" if dtype != torch.float64 else "FlexAttention does not take float64; choose 'math'"
    if device.type != "cuda":
        return (
            "FlashAttention-4 runs on NVIDIA's Hopper and Blackwell GPUs (H100, H200, B200), and this is a "
            f"{device.type} device; choose 'flex' or 'auto'"
        )
    if dtype is not None and dtype not in _DTYPES:
        return f"FlashAttention-4 does not take {str(dtype).removeprefix('torch.')}; give bfloat16 or float16"
    if kernel == "flex_flash" and _torch_version() < (2, 10):
        return f"FlexAttention's back end FLASH came with PyTorch 2.10, and this is {torch.__version__}; choose 'fa4'"
    if fa4_version() is None:
        return "FlashAttention-4 is not installed; pip install 'fastast[fa4]'"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    capability = torch.cuda.get_device_capability(device)
    if capability[0] not in _GENERATIONS:
        have, name = ".".join(map(str, capability)), torch.cuda.get_device_name(device)
        return (
            f"{name} has compute capability {have}, and FlashAttention-4 takes a bias per key from 9.0 (Hopper) on; "
            "choose 'flex' or 'auto'"
        )
    return ""


def require_flash(kernel: str, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
    """Raise MissingAttentionError where `why_not_flash` has a reason."""
    if reason := why_not_flash(kernel, device, dtype):
        raise MissingAttentionError(f"attention {kernel!r}: {reason}")


@cache
def fa4_version() -> str | None:
    """Return the installed version of FlashAttention-4, None where it is not installed."""
    try:
        return version("flash-attn-4")
    except PackageNotFoundError:
        return None


def flash_attend(kernel: str, q: Tensor, k: Tensor, v: Tensor, size: Tensor | None) -> Tensor:
    """Attend to every token in proportion to its size on a kernel of `FLASH_KERNELS`.

    q, k, v: (b, h, n, d); size: (b, n) or None. Returns (b, h, n, d). Raises MissingAttentionError where the kernel
    cannot run.
    """
    require_flash(kernel, q.device, q.dtype)
    if kernel == "fa4":
        return _fa4(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), size).transpose(1, 2)
    if q.device.type == "cpu" and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise MissingAttentionError(
            f"attention {kernel!r}: FlexAttention has no backward pass on a CPU; choose 'mask', or torch.no_grad()"
        )
    return _compiled(kernel, tuple(q.shape) if kernel == "flex_flash" else ())(q, k, v, _log_size(size))


def fa4_weighted_attention(qkv: Tensor, size: Tensor | None, num_heads: int) -> Tensor:
    """Compute `fastast.kernels.weighted_attention` on FlashAttention-4: (b, n, 3 h d) -> (b, n, h d)."""
    b, n, width = qkv.shape
    q, k, v = qkv.view(b, n, 3, num_heads, -1).unbind(2)  # (b, n, h, d) each; nothing is copied
    return _fa4(q, k, v, size).reshape(b, n, width // 3)


def _fa4(q: Tensor, k: Tensor, v: Tensor, size: Tensor | None) -> Tensor:
    """Attend on FlashAttention-4; q, k, v: (b, n, h, d) -> (b, n, h, d)."""
    if q.shape[-1] % 8:
        raise MissingAttentionError(
            f"attention 'fa4': heads are {q.shape[-1]} wide, and FlashAttention-4 takes multiples of 8; choose 'auto'"
        )
    from flash_attn.cute import flash_attn_func

    options: dict[str, Any] = {"softmax_scale": 1 / math.sqrt(q.shape[-1])}
    if size is not None:
        from fastast.attention._fa4_scores import add_log_size, pass_gradient

        options |= {"score_mod": add_log_size, "score_mod_bwd": pass_gradient, "aux_tensors": [_log_size(size)]}
    out: Tensor = flash_attn_func(q, k, v, **options)[0]  # [1] is the log of each row's normaliser
    return out


def _flex(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor | None, back_end: str) -> Tensor:
    """Run FlexAttention with log sizes (b, n), passed as an argument so that all layers share the compiled code."""
    from torch.nn.attention.flex_attention import flex_attention

    options: Any = {"BACKEND": back_end} if back_end != "AUTO" else None  # PyTorch 2.9 has no such option
    if log_size is None:
        return flex_attention(q, k, v, kernel_options=options)

    def add_log_size(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return score + log_size[b, j]

    return flex_attention(q, k, v, score_mod=add_log_size, kernel_options=options)


@cache
def _compiled(kernel: str, shape: tuple[int, ...]) -> Callable[..., Tensor]:
    """Return FlexAttention compiled for any number of tokens, or for one `shape` where it is given.

    Uncompiled, it holds the (n, n) matrix in memory. `fullgraph` makes PyTorch raise where it would otherwise run
    uncompiled.
    """
    back_end = "FLASH" if kernel == "flex_flash" else "AUTO"
    # A code object of its own: PyTorch compiles each at most eight times, and a merged model has a shape per block.
    code = _flex.__code__.replace(co_name="_".join(["flex", back_end, *map(str, shape)]))
    compiled = torch.compile(FunctionType(code, _flex.__globals__), fullgraph=True, dynamic=not shape)

    def call(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor | None) -> Tensor:
        return compiled(q, k, v, log_size, back_end)

    return call


def _log_size(size: Tensor | None) -> Tensor | None:
    """Return the log of sizes (b, n) in float32, the dtype of scores in both kernels whatever that of queries is."""
    return None if size is None else size.float().log().clamp_min(LOG_OF_NOTHING).contiguous()


def _torch_version() -> tuple[int, int]:
    major, minor, *_ = torch.__version__.split(".")
    return int(major), int(minor)
