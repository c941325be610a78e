"""The table of latencies, from times that are made up, so that what it must say is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastast.encoder import EncoderShape
from fastast.tuning.measuring.block_times import StageClock, measure_table, probe_counts
from fastast.tuning.measuring.latency import BlockTimes, Curve, LatencyTable, cost_matrices, table_of
from fastast.tuning.measuring.timing import engine_of
from fastast.zoo import create_model

SHAPE = EncoderShape(embed_dim=8, depth=3, num_heads=2, mlp_dim=16, num_prefix_tokens=2, grid=(7, 14))  # 100 tokens


def half(tokens: int, block: int) -> int:
    return (tokens - 2) // 2


def attention(n: int) -> float:
    return 2e-3 * n + 1e-5 * n * n


def times_of(counts: tuple[int, ...]) -> list[BlockTimes]:
    """What blocks would take: attention by the tokens that enter, MLP by those that leave, 5 to choose."""
    found, n = [], SHAPE.num_tokens
    for block, r in enumerate(counts):
        chosen = 5.0 if r else 0.0
        own = attention(n) * (1.0 if n == SHAPE.num_tokens else 1.5)
        last = block == SHAPE.depth - 1 and not r
        whole = 0.25 * n if last else own + chosen + 3e-3 * (n - r)
        found.append(BlockTimes(block=block, before=n, after=n - r, attention=own, choosing=chosen, whole=whole))
        n -= r
    return found


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    probes = probe_counts(SHAPE, half, levels=8)
    return table_of(SHAPE, [one for counts in probes for one in times_of(counts)], [7.0, 7.5, 8.0])


@pytest.mark.parametrize("counts", [(0, 0, 0), (10, 10, 10), (49, 0, 0), (20, 15, 0), (5, 30, 20)])
def test_a_forward_is_the_sum_of_its_parts(table: LatencyTable, counts: tuple[int, ...]) -> None:
    tokens = tuple(100 - int(removed) for removed in np.cumsum(counts))
    expected = 7.5 + sum(one.whole for one in times_of(counts))
    assert table.forward(tokens) == pytest.approx(expected, rel=0.02)


def test_probes_reach_few_tokens_and_never_ask_too_much(table: LatencyTable) -> None:
    for counts in probe_counts(SHAPE, half):
        n = SHAPE.num_tokens
        for block, r in enumerate(counts):
            assert 0 <= r <= half(n, block)
            n -= r
    assert min(table.attention.tokens) < 30


def test_a_curve_never_falls_and_goes_through_medians() -> None:
    curve = Curve.of({10: [1.0, 1.0, 9.0], 20: [3.0], 30: [2.0], 40: [5.0]})
    assert curve(10) == 1.0
    assert curve(20) == curve(30) == 2.5  # pooled, as 30 tokens do not take less
    assert curve(35) == pytest.approx(3.75)
    assert curve(5) == pytest.approx(0.5)
    assert curve(100) == 5.0


def test_matrices_stop_at_the_limit(table: LatencyTable) -> None:
    levels = (100, 80, 60, 40)
    found = cost_matrices(table, levels, half)
    assert found[0, 0, 2] == table.block(0, 100, 60)
    assert np.isinf(found[0, 0, 3])  # 60 of 98 free tokens
    assert np.isinf(found[0, 2, 1])


def test_a_table_is_the_same_after_a_file(table: LatencyTable) -> None:
    assert LatencyTable.from_dict(table.to_dict()) == table


def test_every_block_of_a_real_model_is_timed() -> None:
    model = create_model(
        "ast_tiny", embed_dim=16, num_heads=2, depth=3, num_frames=64, num_classes=3, fstride=16, tstride=16
    ).eval()
    shape = model.geometry.encoder
    from fastast.reduction import TokenReduction
    from fastast.schedule import PerBlock

    engines = {}
    for counts in probe_counts(shape, lambda n, block: (n - 2) // 2, levels=2):
        reduction = TokenReduction(schedule=PerBlock(counts)) if any(counts) else None
        engines[counts] = engine_of(model, reduction, torch.device("cpu"))
    found = measure_table(shape, engines, torch.randn(2, 64, 128), rounds=2)
    assert found.num_tokens == shape.num_tokens
    assert found.whole > 0
    assert found.outside > 0
    assert found.forward((shape.num_tokens,) * 3) > 0
    assert max(found.attention.tokens) < shape.num_tokens


def test_a_clock_sums_parts_and_forgets_them() -> None:
    clock = StageClock(torch.device("cpu"))
    for _ in range(2):
        with clock(0, ""), clock(0, "attention"):
            sum(range(1000))
    with clock(0, "another kernel"):
        pass
    spans = clock.spans()
    assert set(spans) == {(0, ""), (0, "attention")}
    assert 0 < spans[0, "attention"] <= spans[0, ""]
    assert clock.spans() == {}
