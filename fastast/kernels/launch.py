"""What all launches share: checks that they can run, the choice of device, and how a kernel is cut into tiles."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastast.kernels import interpreted, why_not

KERNEL_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Dtypes that the kernels accept; float64 is for gradient checks, not for speed."""

PROCESSORS = 132
"""Number of multiprocessors of an H100 or H200. Tiles are chosen for them, and are the same on every GPU."""

SMALLEST_TILE = 16
"""Smallest tile that matrix units take, along each of its three sides."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a kernel is cut into programs: chosen by shape and dtype, never by timing, so that records repeat."""

    block_m: int
    """Rows of the output that one program computes; a power of two."""
    block_n: int
    """Columns, or keys, that one step processes; a power of two."""
    block_k: int = SMALLEST_TILE
    """Length of the inner product in one step; a power of two."""
    num_warps: int = 4
    """Warps of 32 threads in one program; a power of two."""
    num_stages: int = 2
    """Tiles in flight between global memory and the matrix units."""

    def __post_init__(self) -> None:
        for key in ("block_m", "block_n", "block_k"):
            value = getattr(self, key)
            if value < 1 or value & (value - 1):
                raise ValueError(f"tiling: {key} = {value} is not a power of two")
        if self.num_warps not in (1, 2, 4, 8, 16):
            raise ValueError(f"tiling: num_warps = {self.num_warps}; allowed: 1, 2, 4, 8, 16")
        if self.num_stages < 1:
            raise ValueError(f"tiling: num_stages = {self.num_stages}; it must be at least 1")


def cdiv(a: int, b: int) -> int:
    """Return a / b, rounded up."""
    return -(-a // b)


def next_power_of_two(x: int) -> int:
    """Return the smallest power of two that is at least `x`."""
    return 1 << max(0, x - 1).bit_length()


def padded_width(width: int) -> int:
    """Return the width of the tile that holds `width` columns: a power of two that matrix units accept."""
    return max(SMALLEST_TILE, next_power_of_two(width))


def check_launch(kernel: str, **tensors: Tensor | None) -> None:
    """Raise ValueError unless all tensors are on one device that runs Triton, in dtypes that the kernels accept."""
    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    first_name, first = next(iter(present.items()))
    reason = why_not(first.device)
    if reason:
        raise ValueError(f"{kernel}: {reason}; use {kernel}_reference on this device")
    for name, tensor in present.items():
        if tensor.device != first.device:
            raise ValueError(
                f"{kernel}: {name} is on {tensor.device}, {first_name} on {first.device}; move one of them"
            )
        if tensor.dtype not in KERNEL_DTYPES:
            allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in KERNEL_DTYPES)
            raise ValueError(f"{kernel}: {name} is {tensor.dtype}; allowed: {allowed}")


def refuse_gradients(kernel: str, *tensors: Tensor | None) -> None:
    """Raise ValueError where autograd would need a backward pass, which the kernel does not have."""
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        raise ValueError(
            f"{kernel}: is for inference and has no backward pass; run it under torch.no_grad() or "
            f"torch.inference_mode(), or train with {kernel}_reference"
        )


def on_device(tensor: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which the tensor's device is the current one, on which Triton launches."""
    return torch.cuda.device(tensor.device) if tensor.device.type == "cuda" else nullcontext()


def dot_options(dtype: torch.dtype) -> dict[str, Any]:
    """Return the compile-time options of every kernel with a matrix product.

    ACC: dtype of accumulators and of what is computed between products. PRECISION: never tf32. WIDE: whether operands
    are widened first, since Triton's interpreter multiplies the bits of bfloat16 numbers as if they were integers.
    """
    import triton.language as tl

    wide = dtype == torch.float64
    return {
        "ACC": tl.float64 if wide else tl.float32,
        "PRECISION": "ieee",
        "WIDE": dtype == torch.bfloat16 and interpreted(),
    }
