"""The kernels of merging and of the filterbank compile for GPUs that are not here: see `ahead_of_time`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from fastast.frontend import AUDIOSET
from fastast.kernels.best_partner import Products, best_partner
from fastast.kernels.filterbank import filterbank
from fastast.kernels.flat_plan import FlatPlan
from fastast.kernels.key_metric import key_metric
from fastast.kernels.merge_norm import merge_norm
from fastast.kernels.merge_plan import merge_plan
from tests.fastast.kernels.ahead_of_time import CAPABILITIES, SHARED_BYTES, Compiled


def empty(*shape: int, dtype: torch.dtype, grad: bool = False) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta", requires_grad=grad)


def choose(dtype: torch.dtype, *, b: int = 64, n: int = 1214, h: int = 12, e: int = 64, r: int = 40) -> None:
    metric = key_metric(empty(b, n, 3 * h * e, dtype=dtype), h)
    best, partner = best_partner(metric, 2)
    merge_plan(best, partner, n, r, 2)


def match(products: Products, *, b: int = 64, e: int = 64) -> None:
    best_partner(empty(b, 1214, e, dtype=torch.float32), 2, products=products)


def merge(
    dtype: torch.dtype, *, d: int = 768, n: int = 1214, r: int = 40, sized: bool = True, wide: torch.dtype | None = None
) -> None:
    """`wide`: of the residual stream, weights and biases, as under autocast."""
    b, p = 64, n - r
    plan = FlatPlan(
        owner=empty(b, p, dtype=torch.int32), start=empty(b, p + 1, dtype=torch.int32),
        source=empty(b, r, dtype=torch.int32),
    )  # fmt: skip
    x, y = empty(b, n, d, dtype=wide or dtype, grad=True), empty(b, n, d, dtype=dtype, grad=True)
    size = empty(b, n, dtype=torch.float32) if sized else None
    weight, bias = empty(d, dtype=wide or dtype, grad=True), empty(d, dtype=wide or dtype, grad=True)
    merged, normed, _ = merge_norm(x, y, size, plan, weight, bias, 1e-6, dtype)
    (merged.sum() + normed.sum()).backward()


def listen(*, b: int = 64) -> None:
    lengths = empty(b, dtype=torch.int64)
    filterbank(empty(b, 160_000, dtype=torch.float32), AUDIOSET, 1024, lengths=lengths)


CASES: dict[str, Callable[[], None]] = {
    "choose, bfloat16": partial(choose, torch.bfloat16),
    "choose, bfloat16, one clip": partial(choose, torch.bfloat16, b=1),
    "match, width of 80": partial(match, "ieee", e=80),
    "match, tf32x3": partial(match, "tf32x3"),
    "match, width of 80, tf32x3": partial(match, "tf32x3", e=80),
    "filterbank": listen,
    "merge, bfloat16": partial(merge, torch.bfloat16),
    "merge, float16, first block": partial(merge, torch.float16, sized=False, d=192),
    "merge, bfloat16 under autocast": partial(merge, torch.bfloat16, wide=torch.float32),
    "merge, float32": partial(merge, torch.float32, d=384),
}


@pytest.fixture(scope="module")
def kernels(compiled: Callable[[str], list[Compiled]]) -> list[Compiled]:
    return compiled(__file__)


@pytest.mark.slow
def test_every_kernel_compiles_for_every_gpu(kernels: list[Compiled]) -> None:
    assert {kernel.case for kernel in kernels} == set(CASES)
    assert {kernel.kernel for kernel in kernels} == {
        "key_metric_forward", "best_partner_forward", "rank_pairs", "write_plan",
        "merge_norm_forward", "merge_norm_grad", "window_frames", "mel_energies",
    }  # fmt: skip
    assert {kernel.capability for kernel in kernels} == set(CAPABILITIES)


def test_programs_fit_into_shared_memory(kernels: list[Compiled]) -> None:
    for kernel in kernels:
        assert kernel.shared_bytes <= SHARED_BYTES[kernel.capability], kernel


def test_numbers_stay_in_registers(kernels: list[Compiled]) -> None:
    if all(kernel.registers is None for kernel in kernels):
        pytest.skip("this Triton comes without cuobjdump")
    for kernel in kernels:
        if kernel.capability == 90:
            assert kernel.spill_bytes == 0, kernel


def test_only_the_product_of_three_parts_runs_on_matrix_units(kernels: list[Compiled]) -> None:
    for kernel in kernels:
        assert (kernel.matrix_instructions > 0) == kernel.case.endswith("tf32x3"), (
            f"tf32, or a product where there is none: {kernel}"
        )


def test_one_clip_is_shared_by_several_programs(kernels: list[Compiled]) -> None:
    programs = {kernel.kernel: kernel.programs for kernel in kernels if kernel.case == "choose, bfloat16, one clip"}
    assert all(count >= 32 for count in programs.values()), programs
