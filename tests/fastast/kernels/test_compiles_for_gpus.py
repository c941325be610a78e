"""Every kernel of this folder compiles for GPUs that are not here, and fits into them: see `ahead_of_time`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from fastast.kernels.add_norm import add_norm
from fastast.kernels.linear_gelu import linear_gelu
from fastast.kernels.patch_tokens import patch_tokens
from fastast.kernels.weighted_attention import weighted_attention
from tests.fastast.kernels.ahead_of_time import CAPABILITIES, SHARED_BYTES, Compiled


def empty(*shape: int, dtype: torch.dtype, grad: bool = False) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta", requires_grad=grad)


def attention(dtype: torch.dtype, *, b: int = 64, n: int = 1214, h: int = 12, e: int = 64, sized: bool = True) -> None:
    size = empty(b, n, dtype=torch.float32) if sized else None
    weighted_attention(empty(b, n, 3 * h * e, dtype=dtype), size, h)


def attention_and_gradients(dtype: torch.dtype, *, b: int = 64, n: int = 1214, h: int = 12, e: int = 64) -> None:
    qkv = empty(b, n, 3 * h * e, dtype=dtype, grad=True)
    weighted_attention(qkv, empty(b, n, dtype=torch.float32), h).sum().backward()


def norm(dtype: torch.dtype, *, d: int = 768) -> None:
    x, y = empty(64, 1214, d, dtype=dtype, grad=True), empty(64, 1214, d, dtype=dtype, grad=True)
    total, normed = add_norm(x, y, empty(d, dtype=dtype, grad=True), empty(d, dtype=dtype, grad=True), 1e-6)
    (total.sum() + normed.sum()).backward()


def norm_in_training(*, d: int = 768) -> None:
    x, y = empty(64, 1214, d, dtype=torch.float32, grad=True), empty(64, 1214, d, dtype=half, grad=True)
    weight, bias = empty(d, dtype=torch.float32, grad=True), empty(d, dtype=torch.float32, grad=True)
    total, normed = add_norm(x, y, weight, bias, 1e-6, half)
    (total.sum() + normed.sum()).backward()


def mlp(dtype: torch.dtype, *, m: int = 64 * 1214, d: int = 768) -> None:
    linear_gelu(empty(m, d, dtype=dtype), empty(4 * d, d, dtype=dtype), empty(4 * d, dtype=dtype))


def patches(dtype: torch.dtype, *, fbank: torch.dtype | None = None, d: int = 768) -> None:
    patch_tokens(
        empty(64, 1024, 128, dtype=fbank or dtype), empty(d, 1, 16, 16, dtype=dtype), empty(d, dtype=dtype),
        empty(2, d, dtype=dtype), empty(1, 1214, d, dtype=dtype), (10, 10),
    )  # fmt: skip


half = torch.bfloat16
CASES: dict[str, Callable[[], None]] = {
    "attention and its gradients, bfloat16": partial(attention_and_gradients, half),
    "attention and its gradients, float32": partial(attention_and_gradients, torch.float32),
    "attention, bfloat16": partial(attention, half),
    "attention, float16": partial(attention, torch.float16),
    "attention, bfloat16, no sizes": partial(attention, half, sized=False),
    "attention, bfloat16, one clip": partial(attention, half, b=1),
    "attention, bfloat16, heads of 80": partial(attention, half, e=80, h=8),
    "norm, bfloat16": partial(norm, half),
    "norm, float16": partial(norm, torch.float16),
    "norm, float32": partial(norm, torch.float32),
    "norm, bfloat16 under autocast": norm_in_training,
    "linear, bfloat16": partial(mlp, half),
    "linear, float32": partial(mlp, torch.float32),
    "linear, float16, eight clips": partial(mlp, torch.float16, m=8 * 1214),
    "linear, bfloat16, one clip": partial(mlp, half, m=1214),
    "patches, bfloat16": partial(patches, half),
    "patches, float16": partial(patches, torch.float16, d=192),
    "patches, float32": partial(patches, torch.float32),
    "patches, bfloat16, of a float32 filterbank": partial(patches, half, fbank=torch.float32),
}

NEWEST_ONLY = {
    "attention and its gradients, float32",
    "attention, float16",
    "attention, bfloat16, one clip",
    "attention, bfloat16, heads of 80",
    "norm, float16",
    "linear, float16, eight clips",
    "patches, float16",
}
"""What an A100 compiles as it does the other types and tiles."""

COUNTED = {"attention, bfloat16", "attention, bfloat16, no sizes"}


@pytest.fixture(scope="module")
def kernels(compiled: Callable[[str], list[Compiled]]) -> list[Compiled]:
    return compiled(__file__)


@pytest.mark.slow
def test_every_kernel_compiles_for_every_gpu(kernels: list[Compiled]) -> None:
    assert {kernel.case for kernel in kernels} == set(CASES)
    assert {kernel.kernel for kernel in kernels} == {
        "attention_forward", "attention_grad_q", "attention_grad_kv", "add_norm_forward", "add_norm_backward",
        "linear_gelu_forward", "patch_tokens_forward",
    }  # fmt: skip
    assert {kernel.capability for kernel in kernels} == set(CAPABILITIES)


def test_programs_fit_into_shared_memory(kernels: list[Compiled]) -> None:
    for kernel in kernels:
        assert kernel.shared_bytes <= SHARED_BYTES[kernel.capability], kernel


def test_half_precision_keeps_its_numbers_in_registers_on_an_h100(kernels: list[Compiled]) -> None:
    if all(kernel.registers is None for kernel in kernels):
        pytest.skip("this Triton comes without cuobjdump")
    for kernel in kernels:
        if kernel.capability == 90 and "float32" not in kernel.case.removesuffix("of a float32 filterbank"):
            assert kernel.spill_bytes == 0, kernel


def test_half_precision_runs_on_matrix_units_and_float32_never_does(kernels: list[Compiled]) -> None:
    for kernel in kernels:
        if kernel.kernel.startswith("add_norm") or kernel.case.endswith("float32"):
            assert kernel.matrix_instructions == 0, f"tf32, or a product where there is none: {kernel}"
        else:
            assert kernel.matrix_instructions > 0, kernel


def test_an_h100_uses_its_own_matrix_instructions(kernels: list[Compiled]) -> None:
    for kernel in kernels:
        if kernel.capability == 90 and kernel.matrix_instructions:
            assert kernel.wgmma, kernel


def test_sizes_cost_attention_no_more_than_a_few_instructions_a_score(kernels: list[Compiled]) -> None:
    def per_score(case: str) -> float:
        (kernel,) = (kernel for kernel in kernels if (kernel.case, kernel.capability) == (case, 90))
        if kernel.loop_instructions is None:
            pytest.skip("this Triton comes without nvdisasm")
        options = kernel.options
        return kernel.loop_instructions * 32 * options["num_warps"] / (options["BM"] * options["BN"])

    # A logarithm in the loop, which is what the definition says, costs eight.
    assert per_score("attention, bfloat16") - per_score("attention, bfloat16, no sizes") < 2
    assert per_score("attention, bfloat16") < 11
