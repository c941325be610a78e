"""Metric, matching, plan and merge one after the other are the token merging of `fastast.reduction`."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.kernels.best_partner import best_partner, best_partner_reference
from fastast.kernels.flat_plan import FlatPlan
from fastast.kernels.key_metric import key_metric, key_metric_reference
from fastast.kernels.merge_norm import merge_norm, merge_norm_reference
from fastast.kernels.merge_plan import merge_plan, merge_plan_reference
from fastast.reduction.choosing.matching import bipartite_soft_matching

KERNELS = (key_metric, best_partner, merge_plan, merge_norm)
REFERENCES = (key_metric_reference, best_partner_reference, merge_plan_reference, merge_norm_reference)
HEADS, EPS = 2, 1e-6


def assert_merges_as_plain_torch(
    stages: tuple, qkv: Tensor, size: Tensor | None, r: int, num_protected: int
) -> tuple[Tensor, Tensor]:
    """Compare plan, order, means, norms and sizes; return means and sizes."""
    b, n, width = qkv.shape
    metric, match, plan_of, merge_of = stages
    d = width // 3
    g = torch.Generator().manual_seed(n * r)
    x, y = (torch.randn(b, n, d, generator=g).to(qkv.device) for _ in range(2))
    weight, bias = (torch.randn(d, generator=g).to(qkv.device) for _ in range(2))

    best, partner = match(metric(qkv, HEADS), num_protected)
    plan: FlatPlan = plan_of(best, partner, n, r, num_protected)
    merged, normed, new_size = merge_of(x, y, size, plan, weight, bias, EPS)

    keys = qkv.view(b, n, 3, HEADS, d // HEADS)[:, :, 1].mean(2)
    want = bipartite_soft_matching(keys, r, num_protected=num_protected)
    assert torch.equal(plan.to_merge_plan().slot(b, qkv.device), want.slot(b, qkv.device))
    want_merged, want_size = want.merge(x + y, torch.ones(b, n, device=qkv.device) if size is None else size)
    assert want_size is not None
    assert torch.equal(new_size, want_size)
    torch.testing.assert_close(merged, want_merged, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(normed, F.layer_norm(want_merged, (d,), weight, bias, EPS), atol=2e-5, rtol=2e-5)
    return merged, new_size


def random_qkv(device: torch.device, b: int, n: int) -> Tensor:
    return torch.randn(b, n, 3 * HEADS * 8, generator=torch.Generator().manual_seed(n)).to(device)


@pytest.mark.slow
@pytest.mark.parametrize("stages", [KERNELS, REFERENCES], ids=["kernels", "references"])
@pytest.mark.parametrize("num_protected", [0, 1, 2])
@pytest.mark.parametrize(("b", "n"), [(3, 1), (1, 2), (2, 5), (1, 12), (2, 37)])
def test_any_number_of_tokens(device: torch.device, b: int, n: int, num_protected: int, stages: tuple) -> None:
    qkv = random_qkv(device, b, n)
    size = torch.randint(1, 40, (b, n), generator=torch.Generator().manual_seed(n)).float().to(device)
    limit = max(0, (n - num_protected) // 2)
    for r in sorted({0, limit // 2, limit}):
        assert_merges_as_plain_torch(stages, qkv, None if r == limit else size, r, num_protected)


@pytest.mark.parametrize("stages", [KERNELS, REFERENCES], ids=["kernels", "references"])
def test_tokens_that_are_exactly_alike(device: torch.device, stages: tuple) -> None:
    # Mean keys along one of three axes: similarities are exactly 0 or 1, as those of padding are.
    qkv = random_qkv(device, 2, 44)
    axis = torch.randint(3, (2, 44), generator=torch.Generator().manual_seed(1))
    keys = F.one_hot(axis, 8).float().to(device)
    qkv.view(2, 44, 3, HEADS, 8)[:, :, 1] = keys[:, :, None]
    qkv.view(2, 44, 3, HEADS, 8)[:, 30:, 1] = 0.0
    for r in (5, 21):
        assert_merges_as_plain_torch(stages, qkv, None, r, 2)


def test_block_after_block(device: torch.device) -> None:
    size, n = None, 50
    qkv = random_qkv(device, 1, n)
    for r in (12, 9, 7):
        merged, size = assert_merges_as_plain_torch(KERNELS, qkv, size, r, 2)
        qkv = torch.cat([merged, merged.flip(-1), merged], -1)  # (b, p, 3d), from what the block left
    assert size is not None
    assert size.sum().item() == n, "every original token is in one slot"


@pytest.mark.gpu
def test_a_whole_clip_on_a_gpu() -> None:
    """1,214 tokens: too slow for the interpreter."""
    device = torch.device("cuda")
    for b in (1, 8):
        qkv = random_qkv(device, b, 1214)
        metric = key_metric(qkv, HEADS)
        best, partner = best_partner(metric, 2)
        for r in (40, 606):
            plan, want = merge_plan(best, partner, 1214, r, 2), merge_plan_reference(best, partner, 1214, r, 2)
            for key in ("owner", "start", "source"):
                assert torch.equal(getattr(plan, key), getattr(want, key))
        exact, _ = best_partner_reference(metric.double(), 2)
        torch.testing.assert_close(best, exact, atol=2e-6, rtol=0)
