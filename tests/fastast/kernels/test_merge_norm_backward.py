"""Gradients of merging in Triton against autograd through a dense averaging matrix in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastast.kernels import merge_norm_backward as module
from fastast.kernels.flat_plan import FlatPlan
from fastast.kernels.merge_norm import merge_norm, merge_norm_reference
from tests.fastast.kernels.test_merge_norm import EPS, inputs, random_plan, random_sizes

Used = tuple[int, ...]


def in_plain_algebra(
    x: Tensor, y: Tensor, size: Tensor | None, plan: FlatPlan, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Means and norms, with the merge as a matrix (b, p, n) that holds each token's share of its slot."""
    b, n, _ = x.shape
    share = torch.zeros(b, plan.num_slots, n, dtype=x.dtype)
    for clip in range(b):
        for slot in range(plan.num_slots):
            begin, end = plan.start[clip, slot : slot + 2].tolist()
            for token in [int(plan.owner[clip, slot]), *plan.source[clip, begin:end].tolist()]:
                share[clip, slot, token] = 1.0 if size is None else size[clip, token].item()
    share = (share / share.sum(-1, keepdim=True)).to(x.device)
    merged = share @ (x + y)
    centred = merged - merged.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + EPS).sqrt() * weight + bias
    return merged, normed + 0 * merged


def exact_gradients(
    tensors: list[Tensor], size: Tensor | None, plan: FlatPlan, grads: list[Tensor], used: Used = (0, 1)
) -> list[Tensor]:
    exact = [t.detach().double().requires_grad_() for t in tensors]
    outputs = in_plain_algebra(*exact[:2], size, plan, *exact[2:])
    found = torch.autograd.grad(
        [outputs[i] for i in used], exact, [grads[i].double() for i in used], allow_unused=True
    )  # fmt: skip
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, exact, strict=True)]


def gradients(
    tensors: list[Tensor], size: Tensor | None, plan: FlatPlan, grads: list[Tensor], used: Used = (0, 1)
) -> list[Tensor]:
    outputs = merge_norm(*tensors[:2], size, plan, *tensors[2:], EPS)
    return list(torch.autograd.grad([outputs[i] for i in used], tensors, [grads[i] for i in used]))


def random_gradients(like: Tensor, p: int) -> list[Tensor]:
    g = torch.Generator().manual_seed(p)
    shape = (like.shape[0], p, like.shape[2])
    return [torch.randn(shape, generator=g).to(like.device, like.dtype) for _ in range(2)]


@pytest.mark.parametrize("used", [(0, 1), (0,), (1,)], ids=["both", "means alone", "norms alone"])
@pytest.mark.parametrize("sized", [False, True], ids=["first block", "sized"])
def test_gradients_equal_autograds_in_float64(
    device: torch.device, sized: bool, used: Used, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PARTIAL_SUMS", 7)  # 18 slots: three for each program, the last has none
    tensors = [t.requires_grad_() for t in inputs(device, 2, 13, 24)]
    size, plan = random_sizes(device, 2, 13) if sized else None, random_plan(device, 2, 13, 4)
    grads = random_gradients(tensors[0], 9)
    got = gradients(tensors, size, plan, grads, used)
    for part, exact in zip(got, exact_gradients(tensors, size, plan, grads, used), strict=True):
        torch.testing.assert_close(part.double(), exact, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(("b", "n", "r", "d"), [(1, 1, 0, 5), (3, 2, 1, 8), (1, 40, 20, 7)])
def test_any_number_of_tokens(device: torch.device, b: int, n: int, r: int, d: int) -> None:
    tensors = [t.requires_grad_() for t in inputs(device, b, n, d, torch.float64)]
    size, plan = random_sizes(device, b, n).double(), random_plan(device, b, n, r)
    grads = random_gradients(tensors[0], n - r)
    got = gradients(tensors, size, plan, grads)
    for part, exact in zip(got, exact_gradients(tensors, size, plan, grads), strict=True):
        torch.testing.assert_close(part, exact, atol=1e-10, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gradients_in_half_precision(device: torch.device, dtype: torch.dtype) -> None:
    x, y, weight, bias = inputs(device, 2, 40, 96, dtype)
    tensors = [x, y, weight.float(), bias.float()]
    for tensor in tensors:
        tensor.requires_grad_()
    size, plan = random_sizes(device, 2, 40), random_plan(device, 2, 40, 15)
    grads = random_gradients(x, 25)
    got = gradients(tensors, size, plan, grads)
    for part, tensor, exact in zip(got, tensors, exact_gradients(tensors, size, plan, grads), strict=True):
        assert part.dtype == tensor.dtype
        error = (part.double() - exact).abs().max() / exact.abs().max()
        assert error < {torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]


def test_each_input_has_a_gradient_of_its_own_type(device: torch.device) -> None:
    x, y, weight, bias = (t.requires_grad_() for t in inputs(device, 1, 9, 16))
    half = y.detach().bfloat16().requires_grad_()
    merged, normed, new_size = merge_norm(x, half, None, random_plan(device, 1, 9, 3), weight, bias, EPS)
    (merged.sum() + normed.square().sum()).backward()
    assert x.grad is not None
    assert half.grad is not None
    assert (x.grad.dtype, half.grad.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(half.grad, x.grad.bfloat16())
    assert not new_size.requires_grad


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sized", [False, True], ids=["first block", "sized"])
def test_as_under_autocast(device: torch.device, sized: bool, dtype: torch.dtype) -> None:
    """A wide residual stream, a half-precision addend, and a norm for a half-precision product."""
    x, y, weight, bias = inputs(device, 2, 40, 96)
    tensors = [t.requires_grad_() for t in (x, y.to(dtype), weight, bias)]
    size, plan = random_sizes(device, 2, 40) if sized else None, random_plan(device, 2, 40, 15)
    merged, normed, _ = merge_norm(*tensors[:2], size, plan, weight, bias, EPS, dtype)
    reference = merge_norm_reference(*tensors[:2], size, plan, weight, bias, EPS, dtype)
    assert (merged.dtype, normed.dtype) == (reference[0].dtype, reference[1].dtype) == (torch.float32, dtype)
    tolerance = {torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(normed, reference[1], atol=tolerance, rtol=tolerance)
    grads = random_gradients(x, 25)
    grads[1] = grads[1].to(dtype)
    got = torch.autograd.grad([merged, normed], tensors, grads)
    for part, tensor, exact in zip(got, tensors, exact_gradients(tensors, size, plan, grads), strict=True):
        assert part.dtype == tensor.dtype
        error = (part.double() - exact).abs().max() / exact.abs().max()
        assert error < (1e-5 if part.dtype == torch.float32 else tolerance)


def test_gradients_are_the_slopes_of_the_kernel_itself(device: torch.device) -> None:
    tensors = [t.requires_grad_() for t in inputs(device, 1, 4, 2, torch.float64)]
    size, plan = random_sizes(device, 1, 4).double(), random_plan(device, 1, 4, 2)
    assert torch.autograd.gradcheck(
        lambda x, y, weight, bias: merge_norm(x, y, size, plan, weight, bias, EPS)[:2], tensors
    )


def test_the_reference_has_the_same_gradients() -> None:
    cpu = torch.device("cpu")
    tensors = [t.requires_grad_() for t in inputs(cpu, 2, 13, 24, torch.float64)]
    size, plan = random_sizes(cpu, 2, 13).double(), random_plan(cpu, 2, 13, 4)
    grads = random_gradients(tensors[0], 9)
    outputs = merge_norm_reference(*tensors[:2], size, plan, *tensors[2:], EPS)
    got = torch.autograd.grad(outputs[:2], tensors, grads)
    for part, exact in zip(got, exact_gradients(tensors, size, plan, grads), strict=True):
        torch.testing.assert_close(part, exact)


def test_equal_bits_in_every_run(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTIAL_SUMS", 5)
    tensors = [t.requires_grad_() for t in inputs(device, 2, 21, 48)]
    size, plan = random_sizes(device, 2, 21), random_plan(device, 2, 21, 9, into=2)
    grads = random_gradients(tensors[0], 12)
    first, second = (gradients(tensors, size, plan, grads) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
