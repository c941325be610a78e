"""Peak rates of GPUs, by which a kernel's work is divided to obtain the least time that it can take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """The peak rates of a GPU, all per second."""

    name: str
    """Name of the GPU and the source of its rates."""
    bytes: float
    """Bytes moved to and from the GPU's memory."""
    matrix: float
    """Floating-point operations on the matrix units, bfloat16 or float16, dense; a multiply-add is two."""
    exponentials: float
    """Base-2 exponentials, the kind that kernels use, on the special function units."""
    other: float
    """Instructions on the ordinary units, for one number each; a multiply-add is one."""


NEAR = 0.95
"""A unit whose time is at least this share of the slowest unit's time counts as a limit too."""
_PROCESSORS, _CLOCK = 132, 1.83e9
_SPECIAL, _LANES = 16, 128
"""Results per clock of one multiprocessor's special function units and ordinary lanes."""

H100_SXM = Peaks(
    name="H100 SXM, data sheet",
    bytes=3.35e12,
    matrix=989.4e12,
    exponentials=_PROCESSORS * _SPECIAL * _CLOCK,
    other=_PROCESSORS * _LANES * _CLOCK,
)
"""NVIDIA H100 data sheet (SXM): 3.35 TB/s and 989.4 TFLOP/s dense, which is 132 multiprocessors with 4,096 operations
per clock at 1.83 GHz. CUDA C++ Programming Guide, arithmetic instructions, compute capability 9.0: 16 and 128 results
per clock, hence 3.86e12 exponentials; Shah et al. 2024 (FlashAttention-3, section 3) give 3.9e12."""
H200_SXM = Peaks(
    name="H200 SXM, data sheet",
    bytes=4.8e12,
    matrix=H100_SXM.matrix,
    exponentials=H100_SXM.exponentials,
    other=H100_SXM.other,
)
"""NVIDIA H200 data sheet (SXM): the H100's processor with 4.8 TB/s."""
MEASURED_MATRIX = {"H100": 748e12, "H200": 774e12}
"""Operations per second in a product of 8192 x 8192 x 8192 random bfloat16 numbers, measured on one H100 80GB HBM3 and
one H200 (torch 2.11, cuBLAS): clocks fall under load, so no kernel gets much further."""


def peaks_of(device_name: str) -> Peaks | None:
    """Return the peaks of a device by the name that its driver gives, None for a device without known peaks.

    H100 PCIe and NVL are different cards from the SXM one, with lower peaks, and a MIG slice has part of a card's.
    """
    words = device_name.replace("-", " ").split()
    if "MIG" in words:
        return None
    if "H200" in words and "NVL" not in words:
        return H200_SXM
    if "H100" in words and not {"PCIe", "NVL"} & set(words):
        return H100_SXM
    return None
