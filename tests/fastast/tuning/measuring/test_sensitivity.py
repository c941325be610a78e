"""What blocks are charged for removing tokens."""

from __future__ import annotations

import numpy as np
import pytest

from fastast.tuning.measuring.sensitivity import Sensitivity, probe_removals


def power(exponents: tuple[float, ...], scale: float = 1e-3) -> Sensitivity:
    """Blocks whose divergence is a power of the tokens removed, of 100."""
    removed = (10, 20, 40)
    return Sensitivity(
        num_tokens=100,
        removed=removed,
        divergence=tuple(tuple(scale * r**e for r in removed) for e in exponents),
        weights=(1.0,) * len(exponents),
    )


@pytest.mark.parametrize("removed", [3, 10, 15, 33, 40, 80])
def test_a_power_law_is_found_between_and_beyond_the_points(removed: int) -> None:
    assert power((1.7,)).curve(0, removed) == pytest.approx(1e-3 * removed**1.7)


def test_a_block_pays_for_what_it_adds_to_what_was_removed_before() -> None:
    found = power((2.0, 2.0))
    assert found.parts((90, 70)) == pytest.approx([1e-3 * 10**2, 1e-3 * (30**2 - 10**2)])
    assert found.schedule((90, 90)) == pytest.approx(1e-3 * 10**2)


def test_more_tokens_never_cost_less_where_noise_says_so() -> None:
    noisy = Sensitivity(num_tokens=100, removed=(10, 20, 40), divergence=((0.3, 0.2, 0.4),), weights=(1.0,))
    values = [noisy.curve(0, r) for r in range(1, 90)]
    assert (np.diff(values) >= 0).all()


def test_matrices_are_the_charges_of_single_blocks() -> None:
    found, levels = power((1.5, 2.5)), (100, 80, 64, 50)
    matrices = found.matrices(levels)
    for k in range(2):
        for i, before in enumerate(levels):
            for j in range(i, len(levels)):
                assert matrices[k, i, j] == pytest.approx(found.block(k, before, levels[j]))


def test_whole_schedules_correct_the_weights() -> None:
    bare, truth = power((1.5, 1.5, 1.5)), np.array([2.0, 0.5, 4.0])
    rng = np.random.default_rng(0)
    schedules = [
        tuple(int(n) for n in np.sort(rng.choice(np.arange(20, 100), 3, replace=False))[::-1]) for _ in range(40)
    ]
    measured = {tokens: float(truth @ bare.parts(tokens)) for tokens in schedules}
    weights = bare.corrected(measured).weights
    assert weights == pytest.approx(truth, rel=0.1)


def test_one_schedule_moves_all_weights_alike() -> None:
    bare = power((1.5, 1.5))
    tokens = (80, 60)
    corrected = bare.corrected({tokens: 3 * bare.schedule(tokens)})
    assert corrected.schedule(tokens) == pytest.approx(3 * bare.schedule(tokens), rel=1e-6)
    assert corrected.weights[0] == pytest.approx(corrected.weights[1])


def test_nothing_measured_changes_nothing() -> None:
    assert power((1.5,)).corrected({}) == power((1.5,))


def test_probes_are_spread_up_to_the_most() -> None:
    assert probe_removals(300) == (75, 150, 225, 300)
    assert probe_removals(2) == (1, 2)
