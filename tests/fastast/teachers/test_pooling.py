"""Pooling, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, softmax

from fastast.teachers.pooling import AttentionPooling, MeanPooling


def test_mean_pooling_is_the_linear_layer_of_the_mean() -> None:
    torch.manual_seed(0)
    pooling = MeanPooling(6, 3)
    features = torch.randn(2, 6, 5)
    weight, bias = (p.detach().numpy() for p in (pooling.linear.weight, pooling.linear.bias))
    expected = features.numpy().mean(2) @ weight.T + bias
    np.testing.assert_allclose(pooling(features).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_pooling_is_pslas_formula(heads: int) -> None:
    torch.manual_seed(1)
    b, d, t, c = 2, 6, 5, 3
    pooling = AttentionPooling(d, c, heads).double()
    torch.nn.init.normal_(pooling.head_weights)
    x = torch.randn(b, d, t, dtype=torch.float64)
    values = {name: p.detach().numpy() for name, p in pooling.named_parameters()}
    head_weights = softmax(values["head_weights"])
    expected = np.zeros((b, c))
    for clip in range(b):
        for label in range(c):
            for head in range(heads):
                row = head * c + label
                a, p = (
                    expit(values[f"{n}.weight"][row, :, 0] @ x[clip].numpy() + values[f"{n}.bias"][row])
                    for n in ("attention", "classifier")
                )
                expected[clip, label] += head_weights[head] * (a / a.sum() * p).sum()
    np.testing.assert_allclose(pooling(x).detach().numpy(), logit(expected), rtol=1e-9)


def test_heads_count_equally_at_the_start_and_learn() -> None:
    torch.manual_seed(2)
    pooling = AttentionPooling(6, 3)
    assert pooling.head_weights.softmax(0).tolist() == [0.25] * 4
    pooling(torch.randn(2, 6, 5)).sum().backward()
    assert pooling.head_weights.grad is not None
    assert bool((pooling.head_weights.grad != 0).any())


def test_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(3)
    pooling = AttentionPooling(4, 2).double()
    features = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pooling, features)


def test_saturated_features_give_finite_logits_and_gradients_in_half_precision() -> None:
    torch.manual_seed(4)
    pooling = AttentionPooling(4, 2)
    features = (1000 * torch.randn(2, 4, 3)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        logits = pooling(features.bfloat16())
    logits.sum().backward()
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    assert features.grad is not None
    assert features.grad.isfinite().all()
