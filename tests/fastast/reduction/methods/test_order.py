"""Methods that go by what tokens are, not by the order in which they are stored (the others pair by it)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast.reduction import BlockTokens, MergePlan, get_method
from fastast.reduction.forward.lineage import Lineage
from tests.fastast.reduction.methods.clips import PREFIX, SHAPE, groups, tokens_of

SEEDS = st.integers(0, 2**31)


def in_other_order(tokens: BlockTokens, order: torch.Tensor) -> BlockTokens:
    """Return the same tokens, token `order[i]` in place i, with where they came from."""
    owner = tokens._lineage.owners(tokens.batch, tokens.device)[:, order]
    plan = MergePlan(num_tokens=SHAPE.num_tokens, owner=owner)
    return BlockTokens(
        tokens.before[:, order],
        tokens.branch[:, order],
        tuple(part[:, :, order] for part in tokens.heads),
        tokens.size[:, order],
        shape=SHAPE,
        num_protected=PREFIX,
        block=tokens.block,
        lineage=Lineage(PREFIX, SHAPE.grid).merged(plan, None),
        seed=tokens.seed,
    )


@settings(max_examples=5)
@given(SEEDS, st.integers(1, 8))
@pytest.mark.parametrize("name", ["topk", "evit", "shift", "pitome"])
def test_the_order_in_which_tokens_are_stored_changes_nothing(name: str, seed: int, r: int) -> None:
    tokens, clips = tokens_of(seed)
    count = clips[0].count
    free = PREFIX + torch.randperm(count - PREFIX, generator=torch.Generator().manual_seed(seed))
    order = torch.cat([torch.arange(PREFIX), free])
    plan, other = (get_method(name)(either, r) for either in (tokens, in_other_order(tokens, order)))
    for clip in range(2):
        made, dropped = groups(plan, clip)
        turned, gone = groups(other, clip)
        assert {frozenset(order[i].item() for i in group) for group in turned} == made
        assert {order[i].item() for i in gone} == dropped
