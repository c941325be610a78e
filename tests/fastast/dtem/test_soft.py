"""Relaxed merging against its definition in loops, and against what it becomes when it is cold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast.dtem.learner import keys_of_blocks
from fastast.dtem.soft import LEAST_SIZE, SoftPlan, soft_forward, soft_groups
from fastast.hosts import reduce
from fastast.reduction import AttachedReduction, MergePlan, TokenReduction
from fastast.reduction.embedding import MergeEmbedding, embedded

MERGE = TokenReduction(schedule="list:7,11,5")  # type: ignore[arg-type]


def shares(scores: np.ndarray, r: int, temperature: float) -> np.ndarray:
    """The definition: `r` softmaxes over all pairs (a, c); what was drawn of a row is taken out of its scores."""
    left, total = scores, np.zeros_like(scores)
    for _ in range(r):
        weights = np.exp((left - left.max()) / temperature)
        drawn = weights / weights.sum()
        total += drawn
        left = left + np.log(1 - np.minimum(drawn.sum(1, keepdims=True), 1 - 1e-6))
    return total / np.maximum(total.sum(1, keepdims=True), 1)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 5), st.sampled_from([0.05, 0.3, 2.0]))
def test_shares_are_those_of_drawing_pairs_one_after_the_other(seed: int, r: int, temperature: float) -> None:
    scores = np.random.default_rng(seed).uniform(-1, 1, (2, 5, 7))
    found = soft_groups(torch.from_numpy(scores), r, temperature).numpy()
    for clip in range(2):
        np.testing.assert_allclose(found[clip], shares(scores[clip], r, temperature), rtol=1e-8, atol=1e-10)


def test_a_merge_moves_what_is_given_and_keeps_the_sum() -> None:
    rng = np.random.default_rng(0)
    x, size = rng.standard_normal((1, 6, 4)), rng.integers(1, 4, (1, 6)).astype(float)
    share = rng.uniform(0, 0.4, (1, 2, 2))  # two protected; A is 2 and 4, B is 3 and 5
    hard = MergePlan(num_tokens=6, owner=torch.arange(6)[None])
    plan = SoftPlan(hard=hard, share=torch.from_numpy(share), first=(2, 3))
    merged, sizes = (one.numpy() for one in plan.merge(torch.from_numpy(x), torch.from_numpy(size)))
    for j, b in enumerate((3, 5)):
        given = [share[0, i, j] * size[0, a] for i, a in enumerate((2, 4))]
        total = size[0, b] + sum(given)
        mean = (size[0, b] * x[0, b] + given[0] * x[0, 2] + given[1] * x[0, 4]) / total
        np.testing.assert_allclose(merged[0, b], mean)
        assert sizes[0, b] == pytest.approx(total)
    for i, a in enumerate((2, 4)):
        np.testing.assert_array_equal(merged[0, a], x[0, a])
        assert sizes[0, a] == pytest.approx(size[0, a] * (1 - share[0, i].sum()))
    assert sizes.sum() == pytest.approx(size.sum())
    np.testing.assert_array_equal(merged[0, :2], x[0, :2])


def test_what_gave_itself_away_keeps_a_size_that_has_a_logarithm() -> None:
    hard = MergePlan(num_tokens=4, owner=torch.arange(4)[None])
    plan = SoftPlan(hard=hard, share=torch.ones(1, 1, 1), first=(2, 3))
    assert plan.merge(torch.randn(1, 4, 3), None)[1].tolist() == [[1, 1, pytest.approx(LEAST_SIZE), 2]]


def test_cold_and_begun_from_the_keys_it_is_tome(small_model, small_fbank, monkeypatch) -> None:
    monkeypatch.setattr("fastast.dtem.soft.LEAST_SIZE", 1e-9)
    model, fbank = small_model.double(), small_fbank.double()
    weight, bias = keys_of_blocks(model)
    attached = AttachedReduction.of(MERGE, model.encoder)
    with torch.no_grad():
        with reduce(model, MERGE, attention="math"):
            expected = model(fbank)
        soft = [
            soft_forward(
                *(model, fbank, attached, lambda x, block: embedded(x, weight[block], bias[block])),
                temperature=temperature,
                kernel="math",
            )
            for temperature in (1e-6, 0.3)
        ]
    torch.testing.assert_close(soft[0], expected, rtol=0, atol=1e-4)
    cold, warm = ((one - expected).abs().max() for one in soft)
    assert cold < 0.1 * warm


def test_begun_from_the_keys_dtem_merges_what_tome_merges(small_model, small_fbank, tmp_path) -> None:
    model, fbank = small_model.double(), small_fbank.double()
    weight, bias = keys_of_blocks(model)
    path = tmp_path / "keys.safetensors"
    MergeEmbedding(weight=weight, bias=bias, model="m", rows=model.encoder.grid[0]).save(path)
    dtem = TokenReduction.from_dict({"schedule": "list:7,11,5", "method": "dtem", "weights": str(path)})
    with torch.no_grad():
        with reduce(model, MERGE, attention="math"):
            expected = model(fbank)
        with reduce(model, dtem, attention="math"):
            torch.testing.assert_close(model(fbank), expected, rtol=1e-9, atol=1e-9)


def test_gradients_reach_every_block_that_merges_and_no_weight_of_the_model(small_model, small_fbank) -> None:
    model = small_model.requires_grad_(False)
    attached = AttachedReduction.of(TokenReduction(schedule="list:7,5,0"), model.encoder)  # type: ignore[arg-type]
    found = []
    for kernel in ("math", "auto"):
        weight, bias = (one.requires_grad_() for one in keys_of_blocks(model))

        def embed(x, block, weight=weight, bias=bias):
            return embedded(x, weight[block], bias[block])

        logits = soft_forward(model, small_fbank, attached, embed, temperature=0.1, kernel=kernel)
        logits.square().sum().backward()
        assert (weight.grad.abs().amax(dim=(1, 2)) > 0).tolist() == [True, True, False]
        assert all(parameter.grad is None for parameter in model.parameters())
        found.append(weight.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-6)


def test_gradients_are_those_of_small_steps(small_model, small_fbank) -> None:
    model, fbank = small_model.double().requires_grad_(False), small_fbank[:1].double()
    attached = AttachedReduction.of(TokenReduction(schedule="list:3,0,0"), model.encoder)  # type: ignore[arg-type]
    weight, bias = (one.requires_grad_() for one in keys_of_blocks(model))

    def loss(step: float) -> torch.Tensor:
        def embed(x, block):
            return embedded(x, weight[block] + step * direction[block], bias[block])

        return soft_forward(model, fbank, attached, embed, temperature=0.3, kernel="math").square().sum()

    direction = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss(0.0).backward()
    with torch.no_grad():
        slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert float((weight.grad * direction).sum()) == pytest.approx(float(slope), rel=1e-3)
