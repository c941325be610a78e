"""The plan of a merge in Triton against lists built one token at a time, and against examples done by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastast.kernels.flat_plan import FlatPlan
from fastast.kernels.merge_plan import merge_plan, merge_plan_reference


def similarities(device: torch.device, b: int, n: int, num_protected: int, *, levels: int = 0) -> tuple[Tensor, Tensor]:
    """Random ones, of `levels` different values where given; protected tokens of A have -inf."""
    g = torch.Generator().manual_seed(n + levels)
    a, c = (n + 1) // 2, n // 2
    best = torch.randint(levels, (b, a), generator=g) - 1.0 if levels else torch.rand(b, a, generator=g) * 2 - 1
    best[:, : (num_protected + 1) // 2] = -torch.inf
    first = num_protected // 2
    partner = torch.randint(first, max(c, first + 1), (b, a), generator=g, dtype=torch.int32)
    return best.to(device), partner.to(device)


def definition(best: list[float], partner: list[int], n: int, r: int, num_protected: int) -> dict[str, list[int]]:
    """owner, start and source of one clip, from ToMe's order: protected tokens, what stays of A, then B."""
    a = len(best)
    candidates = [i for i in range(a) if 2 * i >= num_protected]
    chosen = sorted(sorted(candidates, key=lambda i: (-best[i], i))[:r])
    kept = [2 * i for i in candidates if i not in chosen]
    owner = [*range(num_protected), *kept, *(odd for odd in range(1, n, 2) if odd >= num_protected)]
    start, source = [0], []
    for token in owner:
        source += [2 * i for i in chosen if 2 * partner[i] + 1 == token]
        start.append(len(source))
    return {"owner": owner, "start": start, "source": source}


def assert_is_the_plan(best: Tensor, partner: Tensor, n: int, r: int, num_protected: int) -> None:
    for function in (merge_plan, merge_plan_reference):
        plan = function(best, partner, n, r, num_protected)
        for clip in range(len(best)):
            want = definition(best[clip].tolist(), partner[clip].tolist(), n, r, num_protected)
            got = {key: getattr(plan, key)[clip].tolist() for key in want}
            assert got == want, function.__name__
        assert {plan.owner.dtype, plan.start.dtype, plan.source.dtype} == {torch.int32}


CASES = [
    (n, r, num_protected)
    for num_protected in (0, 1, 2)
    for n in (2, 3, 4, 9, 35, 80)
    for r in sorted({1, (n - num_protected) // 4, (n - num_protected) // 2})
    if 1 <= r <= (n - num_protected) // 2
]


@pytest.mark.slow
@pytest.mark.parametrize(("n", "r", "num_protected"), CASES)
def test_plans_of_any_size(device: torch.device, n: int, r: int, num_protected: int) -> None:
    assert_is_the_plan(*similarities(device, 2, n, num_protected), n, r, num_protected)


def test_more_tokens_than_one_program_compares_at_once(device: torch.device) -> None:
    assert_is_the_plan(*similarities(device, 1, 301, 2), 301, 110, 2)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_ties_go_to_the_lower_position(device: torch.device, levels: int) -> None:
    for n, r in ((40, 7), (41, 19)):
        assert_is_the_plan(*similarities(device, 1, n, 2, levels=levels), n, r, 2)


def test_more_protected_tokens_than_prefixes(device: torch.device) -> None:
    for num_protected in (3, 6):
        assert_is_the_plan(*similarities(device, 1, 31, num_protected), 31, 10, num_protected)


def test_nothing_merges_nothing_moves(device: torch.device) -> None:
    for n in (1, 2, 7):
        best, partner = similarities(device, 2, n, 0)
        for function in (merge_plan, merge_plan_reference):
            plan = function(best, partner, n, 0, 0)
            assert plan.owner.tolist() == [list(range(n))] * 2
            assert plan.start.tolist() == [[0] * (n + 1)] * 2
            assert tuple(plan.source.shape) == (2, 0)


def test_zero_of_either_sign_is_one_similarity(device: torch.device) -> None:
    best = torch.tensor([[-0.0, 0.0, -0.0, 0.0]], device=device)
    partner = torch.zeros(1, 4, dtype=torch.int32, device=device)
    assert merge_plan(best, partner, 8, 2, 0).source.tolist() == [[0, 2]]


def test_negative_similarities_are_ordered(device: torch.device) -> None:
    best = torch.tensor([[-0.9, -0.1, -0.5, -torch.inf]], device=device)
    partner = torch.tensor([[0, 1, 2, 3]], dtype=torch.int32, device=device)
    assert merge_plan(best, partner, 8, 2, 0).source.tolist() == [[2, 4]]


def test_what_is_not_a_number_makes_no_list_overflow(device: torch.device) -> None:
    # Two sorts of it, one of which has the sign bit of a negative number.
    best = torch.tensor([[-torch.inf, 0.0, 0.5, torch.nan, 0.0, -torch.inf]])
    best.view(torch.int32)[0, [1, 4]] = -(2**22)
    best = best.to(device)
    partner = torch.tensor([[0, 3, 2, 1, 5, 4]], dtype=torch.int32, device=device)
    plan = merge_plan(best, partner, 12, 2, 2)
    assert plan.source.tolist() == [[6, 2]], "it comes first, as it does for torch"
    assert sorted(plan.owner[0].tolist() + plan.source[0].tolist()) == list(range(12))
    most = merge_plan(best, partner, 12, 5, 2)
    assert most.owner.tolist() == [[0, 1, 3, 5, 7, 9, 11]], "protected tokens stay even if others have -inf"


def test_an_example_by_hand(device: torch.device) -> None:
    # Tokens 2, 6 and 8 are the best three: 2 and 8 join token 5, 6 joins token 3.
    best = torch.tensor([[-torch.inf, 0.9, 0.1, 0.8, 0.7]], device=device)
    partner = torch.tensor([[0, 2, 1, 1, 2]], dtype=torch.int32, device=device)
    plan = merge_plan(best, partner, 10, 3, 2)
    assert plan.owner.tolist() == [[0, 1, 4, 3, 5, 7, 9]]
    assert plan.start.tolist() == [[0, 0, 0, 0, 1, 3, 3, 3]]
    assert plan.source.tolist() == [[6, 2, 8]]
    assert (plan.num_tokens, plan.num_slots) == (10, 7)
    merging = plan.to_merge_plan()
    assert merging.slot(1, device).tolist() == [[0, 1, 4, 3, 2, 4, 3, 5, 4, 6]]


def test_a_plan_in_plain_torch_averages_the_same_tokens(device: torch.device) -> None:
    plan = FlatPlan(
        owner=torch.tensor([[0, 1, 3], [2, 1, 3]], dtype=torch.int32, device=device),
        start=torch.tensor([[0, 0, 0, 1], [0, 0, 1, 1]], dtype=torch.int32, device=device),
        source=torch.tensor([[2], [0]], dtype=torch.int32, device=device),
    )
    x = torch.tensor([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]], device=device)[..., None]
    size = torch.tensor([[1.0, 1.0, 3.0, 1.0], [1.0, 1.0, 1.0, 1.0]], device=device)
    merged, new_size = plan.to_merge_plan().merge(x, size)
    assert merged[..., 0].tolist() == [[0.0, 1.0, 2.25], [6.0, 4.5, 7.0]]
    assert new_size is not None
    assert new_size.tolist() == [[1.0, 1.0, 4.0], [1.0, 2.0, 1.0]]


@pytest.mark.parametrize("function", [merge_plan, merge_plan_reference])
def test_what_does_not_fit_is_named(function: object) -> None:
    best, partner = torch.zeros(1, 4), torch.zeros(1, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"for n = 10 tokens, both must be \(batch, 5\)"):
        function(best, partner, 10, 1, 0)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"cannot merge 4 of 8 tokens, 2 protected; at most 3"):
        function(best, partner, 8, 4, 2)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"cannot merge -1 of 8"):
        function(best, partner, 8, -1, 2)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"partner torch.int64.*must be float32 and int32"):
        function(best, partner.long(), 8, 1, 2)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"num_protected = -2"):
        function(best, partner, 8, 1, -2)  # type: ignore[operator]
