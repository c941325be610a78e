"""Attention by products of matrices: the definition, in portions, and `auto` where a CPU trains in bfloat16."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from fastast.attention import products, proportional_attention, resolve_kernel
from fastast.model import AudioSpectrogramTransformer

CPU = torch.device("cpu")


def tensors(dtype: torch.dtype = torch.float64, *, b: int = 5, n: int = 23) -> tuple[list[Tensor], Tensor]:
    g = torch.Generator().manual_seed(5)
    qkv = torch.randn(b, n, 3, 2, 16, generator=g, dtype=torch.float64).to(dtype)
    return list(qkv.permute(2, 0, 3, 1, 4).unbind(0)), torch.randint(1, 9, (b, n), generator=g).float()


def defined(q: Tensor, k: Tensor, v: Tensor, size: Tensor | None) -> Tensor:
    scores = q @ k.transpose(-1, -2) / 4
    return (scores if size is None else scores + size.double().log()[:, None, None, :]).softmax(-1) @ v


@pytest.mark.parametrize("portion", [1, 2 * 2 * 23 * 23, 1 << 20])
@pytest.mark.parametrize("weighted", [False, True])
def test_portions_give_the_definition_and_its_gradients(
    portion: int, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_PORTION", portion)
    (q, k, v), size = tensors()
    size = size.double() if weighted else None
    upstream = torch.randn(q.shape, dtype=torch.float64)
    found, expected = [], []
    for function, kept in ((lambda *x: proportional_attention(*x, size, kernel="products"), found),
                           (lambda *x: defined(*x, size), expected)):  # fmt: skip
        inputs = [one.clone().requires_grad_() for one in (q, k, v)]
        out = function(*inputs)
        kept += [out, *torch.autograd.grad(out, inputs, upstream)]
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-10)


def test_in_bfloat16_it_is_off_by_some_steps_of_the_type() -> None:
    (q, k, v), size = tensors(torch.bfloat16, b=2, n=301)
    exact = [one.double().requires_grad_() for one in (q, k, v)]
    inputs = [one.clone().requires_grad_() for one in (q, k, v)]
    with torch.autocast("cpu", torch.bfloat16):
        out = proportional_attention(*inputs, size, kernel="products")
    assert out.dtype == torch.bfloat16
    expected = defined(*exact, size)
    upstream = torch.randn(out.shape)
    grads = torch.autograd.grad(out, inputs, upstream.bfloat16())
    wanted = torch.autograd.grad(expected, exact, upstream.double())
    for mine, theirs in zip((out, *grads), (expected, *wanted), strict=True):
        assert (mine.double() - theirs).norm() < 0.02 * theirs.norm()


def test_auto_takes_it_where_a_cpu_learns_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    for multiplies, kernel in ((True, "products"), (False, "mask")):
        monkeypatch.setattr(
            "fastast.attention.proportional.multiplies_bfloat16", lambda multiplies=multiplies: multiplies
        )
        assert resolve_kernel("auto", CPU, torch.bfloat16, training=True) == kernel
        assert resolve_kernel("auto", CPU, torch.bfloat16) == "mask"
        assert resolve_kernel("auto", CPU, torch.float32, training=True) == "mask"
        assert resolve_kernel("auto", torch.device("cuda"), torch.bfloat16, training=True) == "key_column"
        assert resolve_kernel("mask", CPU, torch.bfloat16, training=True) == "mask"


@pytest.mark.parametrize("case", ["learns", "evaluates", "drops", "frozen", "sizes_learn"])
def test_what_it_lacks_stays_with_the_fused_kernel(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastast.attention.proportional.multiplies_bfloat16", lambda: True)
    (q, k, v), size = tensors(torch.bfloat16)
    q.requires_grad_(case != "frozen")
    size.requires_grad_(case == "sizes_learn")
    with (
        patch("fastast.attention.proportional.product_attention", wraps=products.product_attention) as counted,
        torch.set_grad_enabled(case != "evaluates"),
    ):
        proportional_attention(q, k, v, size, dropout=0.1 if case == "drops" else 0.0)
    assert counted.called == (case == "learns")


def test_asked_by_name_it_refuses_what_it_lacks() -> None:
    (q, k, v), size = tensors()
    with pytest.raises(ValueError, match="'products' passes no gradient to sizes; choose 'auto'"):
        proportional_attention(q, k, v, size.requires_grad_(), kernel="products")
    with pytest.raises(ValueError, match=r"'products' has no dropout, but dropout is 0.1"):
        proportional_attention(q, k, v, None, kernel="products", dropout=0.1)


@pytest.mark.parametrize(("vectors", "tiles", "expected"), [(True, False, True), (True, True, False), (False,) * 3])
def test_a_processor_with_tiles_or_without_bfloat16_keeps_the_fused_kernel(
    vectors: bool, tiles: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: vectors, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles, raising=False)
    assert products.multiplies_bfloat16.__wrapped__() == expected


def test_a_step_of_training_in_bfloat16_learns_as_with_the_fused_kernel(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastast.attention.proportional.multiplies_bfloat16", lambda: True)
    grads = {}
    for kernel in ("math", "auto"):
        small_model.attention_kernel = kernel
        small_model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=kernel == "auto"):
            loss = small_model(small_fbank).float().square().mean()
        loss.backward()
        grads[kernel] = torch.cat([p.grad.flatten() for p in small_model.parameters() if p.grad is not None])
    assert torch.nn.functional.cosine_similarity(grads["auto"], grads["math"], dim=0) > 0.999
