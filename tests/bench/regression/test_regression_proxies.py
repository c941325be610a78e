"""What the regression gate measures: counts by hand, graph breaks, and a reference that computes the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.regression import proxies
from bench.regression.cases import CASES, arms_of, gate_model, paired_ratio, random_input, reference
from bench.regression.proxies import ForwardCounter


def test_the_counter_sees_operators_and_the_most_bytes_at_once():
    x, w = torch.ones(8, 4), torch.ones(4, 4)
    with torch.no_grad(), ForwardCounter() as counter:
        y = x @ w  # 128 bytes
        z = y + 1  # 128 more
        del y
        z.view(4, 8)  # a view computes and holds nothing
        z.add_(1)
        torch.cat([z, z])  # 256 bytes beside the 128 of z
    assert (counter.operators, counter.launches, counter.peak_bytes) == (5, 4, 384)


def test_the_counter_counts_a_graph_break(monkeypatch):
    class Broken(torch.nn.Module):
        def forward(self, x):
            x = x + 1
            torch._dynamo.graph_break()
            return x * 2

    monkeypatch.setattr(proxies, "_candidate", lambda *arguments, **options: Broken())
    assert proxies.count_graphs(0) == 2


def test_the_reference_computes_the_unmerged_model():
    model = gate_model(depth=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        fbank = random_input(model, 2)
        torch.testing.assert_close(reference(model, fbank), model(fbank))


def test_arms_share_weights_and_rounds_are_paired():
    arms = arms_of(CASES[-1])
    assert list(arms) == ["candidate", "unmerged", "reference", "slice"]
    for arm in arms.values():
        arm()
    assert all(len(arm.cpu_seconds) == 1 and arm.cpu_seconds[0] > 0 for arm in arms.values())
    # Rounds that are slow by chance are slow on both sides.
    drift = np.array([1.0, 5.0, 2.0, 9.0, 3.0])
    ratio = paired_ratio(list(3 * drift), list(2 * drift))
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((1.5, 1.5, 1.5))
