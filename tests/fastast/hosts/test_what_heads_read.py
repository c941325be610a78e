"""A reduction leaves what the head reads, however much is asked for: its logits are numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_hosts import logits

from fastast import ReductionError, TokenReduction, reduce
from fastast.reduction import MergePlan, reduction_method
from fastast.reduction.registry import METHODS

HEADS: dict[str, tuple[dict[str, Any], int]] = {
    "class": ({}, 1),
    "class and registers": ({"reg_tokens": 2}, 3),
    "average": ({"global_pool": "avg"}, 2),
    "average, no class token": ({"global_pool": "avg", "class_token": False}, 1),
    "average with prefix": ({"global_pool": "avg", "pool_include_prefix": True}, 1),
    "map": ({"global_pool": "map"}, 2),
    "map, no class token": ({"global_pool": "map", "class_token": False}, 1),
    "two prefix tokens": ({"distilled": True}, 2),
}
"""Settings of a vision transformer of timm with 48 patches, and the fewest tokens that its head can read."""


@pytest.mark.parametrize("place", ["between", "after"])
@pytest.mark.parametrize("method", ["random", "slice", "shift", "topk", "patchout"])
@pytest.mark.parametrize(("settings", "left"), HEADS.values(), ids=HEADS)
@torch.no_grad()
def test_a_cap_stops_at_what_the_head_reads(vit, picture, settings, left, method, place) -> None:
    if method == "topk" and settings.get("class_token") is False:
        pytest.skip("it goes by the attention of prefix tokens")
    model, schedule = vit(**settings), {"schedule": "constant:30", "method": method, "place": place}
    with pytest.raises(ReductionError, match=rf"block 2 of 3 has .*Tokens .* if capped there: \d+, {left}, {left}\."):
        reduce(model, TokenReduction(**schedule))
    with reduce(model, TokenReduction(**schedule, excess="cap")) as handle:
        assert handle.tokens_per_block[-1] == left
        assert torch.isfinite(model(picture)).all()


@pytest.mark.parametrize(("schedule", "num_protected"), [("list:49,0,0", 0), ("list:49,0,0", 1), ("keep:0.01", 0)])
@torch.no_grad()
def test_asts_head_keeps_its_two_tokens(native, fbank, hugging_face, schedule, num_protected) -> None:
    for model in (native, hugging_face()):
        asked = {"schedule": schedule, "method": "slice", "num_protected": num_protected}
        with pytest.raises(ReductionError, match="block 1 of 3 has 50 tokens.* and 2 needed by the head, .* remove 48"):
            reduce(model, TokenReduction(**asked))
        with reduce(model, TokenReduction(**asked, excess="cap")) as handle:
            assert handle.tokens_per_block == (2, 2, 2)
            assert torch.isfinite(logits(model(fbank))).all()


@torch.no_grad()
def test_a_method_from_elsewhere_is_held_to_it_too(vit, picture, monkeypatch) -> None:
    @reduction_method("greedy", label="greedy", limit=lambda shape, options: shape.num_free)
    def greedy(tokens, r, options):
        return MergePlan(num_tokens=tokens.num_tokens, owner=slice(0, tokens.num_tokens - r))

    monkeypatch.setitem(METHODS._entries, "greedy", greedy)
    model = vit(global_pool="avg")
    with reduce(model, TokenReduction(schedule="list:48,0,0", method="greedy", excess="cap")) as handle:
        assert handle.tokens_per_block == (2, 2, 2)
        assert torch.isfinite(model(picture)).all()
