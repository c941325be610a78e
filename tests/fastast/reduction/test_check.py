"""A method may return anything: what is no plan is refused with the method, the block and the rule it broke."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from fastast.hosts import reduce
from fastast.reduction import MergePlan, ReductionError, TokenReduction, reduction_method
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
    "too few": (lambda n, r: keep(n, r + 1), "asked for were 5 less, 65"),
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
    "another device": (
        lambda n, r: keep(n, r, target=torch.full((2, r), 2, device="meta")),
        "target is on meta; the tokens are on cpu",
    ),
    "nan weight": (lambda n, r: keep(n, r, weight=weights(n, value=float("nan"))), "negative, infinite or NaN"),
    "negative weight": (lambda n, r: keep(n, r, weight=weights(n, value=-1.0)), "negative, infinite or NaN"),
    "weights of others": (lambda n, r: keep(n, r, weight=torch.ones(2, 3)), r"weights of shape \(2, 3\)"),
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
    monkeypatch.setattr("fastast.reduction.attach.check_plan", lambda *given: looked.append(given[1].block))
    with reduce(small_model, TokenReduction(schedule="list:5,0,5")), torch.no_grad():
        for _ in range(3):
            small_model(small_fbank)
    assert looked == [0, 2]


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
        ({"window": 0}, "reduction x: window is 0; give at least 1"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(values, message) -> None:
    with pytest.raises(ReductionError, match=message):
        parse_options(Options, values, "x")


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
