"""A method may return anything: what is no plan is refused with the method, the block and the rule it broke."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass

import pytest
import torch

from fastast.hosts import reduce
from fastast.reduction import BlockTokens, MergePlan, ReductionError, TokenReduction, method_names, reduction_method
from fastast.reduction.options import allowed_text, option_docs, parse_options, read_option
from fastast.reduction.registry import METHODS, all_free


def index(*values: int, b: int = 2) -> torch.Tensor:
    return torch.tensor(values).expand(b, -1)


def keep(n: int, r: int, **changes) -> MergePlan:
    """The plan in which the last r tokens join the first one behind the prefix, with something changed."""
    fields = {
        "num_tokens": n,
        "owner": torch.arange(n - r).expand(2, -1),
        "merged": torch.arange(n - r, n).expand(2, -1),
        "target": torch.full((2, r), 2),
    }
    return MergePlan(**fields | changes)


def weights(n: int, **changes: float) -> torch.Tensor:
    out = torch.ones(2, n)
    for value in changes.values():
        out[0, n - 1] = value
    return out


WRONG = {
    "nothing": (lambda n, r: None, "a NoneType; a method returns a MergePlan"),
    "too few": (lambda n, r: keep(n, r + 1), "with r = 5 it must leave 65"),
    "another count": (lambda n, r: keep(n + 1, r + 1), "a plan for 71 tokens; the block has 70"),
    "owner outside": (lambda n, r: keep(n, r, owner=torch.arange(n - r).expand(2, -1) + 9), "owner names token 70"),
    "slot outside": (lambda n, r: keep(n, r, target=torch.full((2, r), n)), "slot 70; allowed: 0 to 64 or, with drops"),
    "undeclared drop": (lambda n, r: keep(n, r, target=torch.full((2, r), -1)), "slot -1; allowed: 0 to 64 or, with"),
    "twice": (lambda n, r: keep(n, r, merged=torch.full((2, r), 3)), "uses token 3 twice"),
    "protected": (lambda n, r: keep(n, r, target=torch.zeros(2, r, dtype=torch.int64)), "first 2 tokens, which are"),
    "float index": (
        lambda n, r: keep(n, r, target=torch.full((2, r), 2.0)),
        "target is torch.float32; it must be int64",
    ),
    "one clip": (lambda n, r: keep(n, r, target=torch.full((1, r), 2)), r"target has shape \(1, 5\)"),
    "half a list": (lambda n, r: keep(n, r, target=None), "one of merged and target"),
    "half of them": (
        lambda n, r: keep(n, r, merged=torch.arange(n - r, n - 2).expand(2, -1), target=torch.full((2, r - 2), 2)),
        "lists 3 of the 5 tokens that own no slot in merged; list all",
    ),
    "another device": (
        lambda n, r: keep(n, r, target=torch.full((2, r), 2, device="meta")),
        "target is on meta; the tokens are on cpu",
    ),
    "nan weight": (lambda n, r: keep(n, r, weight=weights(n, value=float("nan"))), "negative, infinite or NaN"),
    "negative weight": (lambda n, r: keep(n, r, weight=weights(n, value=-1.0)), "negative, infinite or NaN"),
    "weights of others": (lambda n, r: keep(n, r, weight=torch.ones(2, 3)), r"weights of shape \(2, 3\)"),
    "slots outside": (
        lambda n, r: MergePlan.from_slots(torch.where(index(*range(n)) < n - r, index(*range(n)), n), n - r),
        "sends a token to slot 70; allowed: 0 to 64 or -1",
    ),
    "slots of nobody": (
        lambda n, r: MergePlan.from_slots(index(*range(n)).clamp_max(n - r - 2), n - r),
        "slots of which 64 has no token in clip 0",
    ),
    "narrow slots": (lambda n, r: MergePlan.from_slots(index(*range(n)).int(), n - r), r"torch.int32 of shape"),
    "more slots than tokens": (lambda n, r: MergePlan.from_slots(index(*range(n)), n + 1), "71 slots for 70 tokens"),
    "no weight": (lambda n, r: keep(n, r, weight=torch.zeros(2, n)), "add up to 0 in a slot"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_plan_is_refused(small_model, small_fbank, monkeypatch, name: str) -> None:
    make, message = WRONG[name]
    method = reduction_method("odd", label="odd", limit=all_free)(lambda tokens, r, options: make(tokens.num_tokens, r))
    monkeypatch.setitem(METHODS._entries, "odd", method)
    refused = pytest.raises(ReductionError, match=f"reduction odd: block 2 got .*{message}")
    with reduce(small_model, TokenReduction(schedule="list:0,5,0", method="odd")), torch.no_grad(), refused:
        small_model(small_fbank)


def test_only_the_first_plan_of_a_block_is_looked_at(small_model, small_fbank, monkeypatch) -> None:
    looked = []

    def check(reduction: TokenReduction, tokens: BlockTokens, r: int) -> MergePlan:
        looked.append(tokens.block)
        return reduction.registered(tokens, r, reduction.options)

    monkeypatch.setattr("fastast.reduction.forward.attach.checked_choice", check)
    with reduce(small_model, TokenReduction(schedule="list:5,0,5")), torch.no_grad():
        for _ in range(3):
            small_model(small_fbank)
    assert looked == [0, 2]


def test_a_slot_that_is_empty_later_is_refused_too_rather_than_filled_by_the_next_clip(
    small_model, small_fbank, monkeypatch
) -> None:
    calls = []

    @reduction_method("late", label="late", limit=all_free)
    def late(tokens: BlockTokens, r: int, options: object) -> MergePlan:
        calls.append(tokens.block)
        slot = torch.arange(tokens.num_tokens).clamp_max(tokens.num_tokens - r - 1).expand(2, -1).clone()
        if len(calls) == 2:
            slot[0, 5] = 4
        return MergePlan.from_slots(slot, tokens.num_tokens - r)

    monkeypatch.setitem(METHODS._entries, "late", late)
    with reduce(small_model, TokenReduction(schedule="list:5,0,0", method="late")), torch.no_grad():
        small_model(small_fbank)
        with pytest.raises(ReductionError, match="slots of which 5 has no token in clip 0"):
            small_model(small_fbank)


def drawing(draw, random: bool):
    @reduction_method("drawing", label="drawing", limit=all_free, random=random)
    def choose(tokens: BlockTokens, r: int, options: object) -> MergePlan:
        return MergePlan(num_tokens=tokens.num_tokens, owner=draw(tokens, tokens.num_tokens - r).expand(2, -1))

    return choose


@pytest.mark.parametrize(
    ("draw", "random", "message"),
    [
        (lambda t, p: t.draw()[2:].argsort()[: p - 2], False, "not registered as random"),
        (lambda t, p: torch.randperm(t.num_tokens - 2, generator=t.generator)[: p - 2], False, "registered as random"),
        (lambda t, p: torch.randperm(t.num_tokens - 2)[: p - 2], True, "drew numbers that do not repeat"),
    ],
)
def test_a_method_that_draws_says_so_and_repeats(small_model, small_fbank, monkeypatch, draw, random, message) -> None:
    def all_of(tokens: BlockTokens, left: int) -> torch.Tensor:
        return torch.cat([torch.arange(2), draw(tokens, left) + 2])

    monkeypatch.setitem(METHODS._entries, "drawing", drawing(all_of, random))
    refused = pytest.raises(ReductionError, match=f"reduction drawing: block 1 .*{message}")
    with reduce(small_model, TokenReduction(schedule="list:5,0,0", method="drawing")), torch.no_grad(), refused:
        small_model(small_fbank)


def test_what_another_thread_draws_is_not_the_methods(small_model, small_fbank, monkeypatch) -> None:
    @reduction_method("busy", label="busy", limit=all_free)
    def busy(tokens: BlockTokens, r: int, options: object) -> MergePlan:
        beside = threading.Thread(target=torch.rand, args=(3,))
        beside.start()
        beside.join()
        return MergePlan(num_tokens=tokens.num_tokens, owner=slice(0, tokens.num_tokens - r))

    monkeypatch.setitem(METHODS._entries, "busy", busy)
    with reduce(small_model, TokenReduction(schedule="list:5,0,0", method="busy")), torch.no_grad():
        assert small_model(small_fbank).isfinite().all()


@pytest.mark.parametrize("method", sorted(set(method_names()) - {"dtem"}))
@torch.no_grad()
def test_a_batch_that_says_nothing_of_the_method_is_no_reason_to_refuse_it(small_model, small_fbank, method) -> None:
    with reduce(small_model, TokenReduction(schedule="constant:5", method=method)):
        assert small_model(small_fbank[:0]).shape == (0, 5)
        broken = small_fbank.clone()
        broken[0] = torch.nan
        first = small_model(broken)
        assert first[0].isnan().all()
        torch.testing.assert_close(first[1], small_model(small_fbank)[1])


def test_a_plan_is_looked_at_in_the_first_batch_that_says_something(small_model, small_fbank, monkeypatch) -> None:
    method = reduction_method("odd", label="odd", limit=all_free)(
        lambda tokens, r, options: keep(tokens.num_tokens, r, weight=torch.zeros(2, tokens.num_tokens))
    )
    monkeypatch.setitem(METHODS._entries, "odd", method)
    with reduce(small_model, TokenReduction(schedule="list:5,0,0", method="odd")), torch.no_grad():
        small_model(small_fbank * torch.nan)
        with pytest.raises(ReductionError, match="add up to 0 in a slot"):
            small_model(small_fbank)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a method that is none."""

    window: int = 3
    """How far a partner may be,
    in patches."""
    share: float = 0.5
    """Of what."""
    wide: bool = False
    """Whether."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window is {self.window}; give at least 1")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"windw": 3}, "reduction x: unknown option 'windw'. Did you mean 'window'"),
        ({"window": 2.5}, "window is 2.5; give a whole number"),
        ({"window": True}, "window is True; give a whole number"),
        ({"wide": 1}, "wide is 1; give true or false"),
        ({"share": "half"}, "share is 'half'; give a number"),
        ({"share": float("nan")}, "share is nan; give a finite number"),
        ({"share": float("inf")}, "share is inf; give a finite number"),
        ({"window": 0}, "reduction x: window is 0; give at least 1"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(values, message) -> None:
    with pytest.raises(ReductionError, match=message):
        parse_options(Options, values, "x")


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("local", {"time": -1}, "time is -1; give 0 patches or more"),
        ("local", {"window": "frequency", "time": 3}, "time is 3, but the window is 'frequency'"),
        ("algm", {"frequency": -2}, "frequency is -2; give 0 patches or more"),
        ("pitome", {"margin": 1.5}, "margin is 1.5; a cosine is from -1 to 1"),
        ("pitome", {"alpha": -0.5}, "alpha is -0.5; give a number of at least 0"),
    ],
)
def test_what_a_methods_options_refuse_begins_with_the_method(method: str, options: dict, message: str) -> None:
    with pytest.raises(ReductionError, match=f"^reduction {method}: {re.escape(message)}"):
        TokenReduction(schedule="constant:2", method=method, options=options)


def test_options_are_read_from_text_and_described() -> None:
    assert [read_option(Options, *pair, "x") for pair in (("window", "4"), ("share", "1"), ("wide", "true"))] == [
        4,
        1,
        True,
    ]
    with pytest.raises(ReductionError, match="window is 'four'; give a whole number"):
        read_option(Options, "window", "four", "x")
    assert option_docs(Options)["window"] == "How far a partner may be, in patches."
    assert allowed_text(bool) == "true or false"
