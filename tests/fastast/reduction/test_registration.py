"""What registers as a method: what is wrong with it is said before anything runs, by name, option and rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any, Literal

import pytest

from fastast.encoder import EncoderShape
from fastast.reduction import (
    BlockTokens,
    MergePlan,
    ReductionError,
    TokenReduction,
    get_method,
    reduction_method,
    register_method,
)
from fastast.reduction.registry import METHODS, all_free

SHAPE = EncoderShape(embed_dim=8, depth=2, num_heads=2, mlp_dim=16, num_prefix_tokens=2, grid=(3, 7))


def keep_first(tokens: BlockTokens, r: int, options: object) -> MergePlan:
    return MergePlan(num_tokens=tokens.num_tokens, owner=slice(0, tokens.num_tokens - r))


def register(monkeypatch: pytest.MonkeyPatch, name: str = "odd", **fields: Any) -> None:
    method = reduction_method(name, **({"label": name, "limit": all_free} | fields))(keep_first)
    monkeypatch.setitem(METHODS._entries, name, method)


class Plain:
    share: float = 0.5


@dataclass(kw_only=True)
class Changing:
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Without:
    share: float


@dataclass(frozen=True, kw_only=True)
class Several:
    windows: tuple[int, ...] = (3, 5)


@dataclass(frozen=True, kw_only=True)
class Made:
    share: float = field(default_factory=float)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Plain, "its options, Plain, are not a dataclass"),
        (Changing, "its options, Changing, can change"),
        (Without, "the option share has no default"),
        (Made, "the option share has no default"),
        (Several, r"the option windows is a tuple\[int, ...\]; records and command lines hold bool, int, float, str"),
    ],
)
def test_options_that_no_record_can_hold_are_refused_when_registered(kind: type, message: str) -> None:
    with pytest.raises(ReductionError, match=f"reduction odd: {message}"):
        reduction_method("odd", label="odd", limit=all_free, options=kind)(keep_first)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "two words"}, "the name of a method is letters, digits"),
        ({"combine": "avg"}, "unknown combine 'avg'"),
    ],
)
def test_a_registration_that_is_wrong_is_refused(monkeypatch: pytest.MonkeyPatch, fields, message: str) -> None:
    with pytest.raises(ReductionError, match=message):
        register(monkeypatch, **fields)


@dataclass(frozen=True, kw_only=True)
class Seeded:
    seed: int = 0


def test_an_option_called_as_what_every_reduction_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, options=Seeded)
    with pytest.raises(
        ReductionError, match="reduction odd: its option seed has the name of a field that every reduction has"
    ):
        TokenReduction(schedule="constant:2", method="odd")


@dataclass(frozen=True, kw_only=True)
class Scaled:
    scale: float = 1.0
    p: float | Literal["max"] = 2.0


def test_a_whole_number_and_the_same_number_with_a_point_are_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, options=Scaled)
    one, other = ({"schedule": "constant:2", "method": "odd", "scale": x, "p": x} for x in (3, 3.0))
    assert TokenReduction.from_dict(one) == TokenReduction.from_dict(other)
    assert repr(TokenReduction.from_dict(one).to_dict()) == repr(TokenReduction.from_dict(other).to_dict())
    assert TokenReduction.from_dict(one | {"p": "max"}).to_dict()["p"] == "max"


def test_what_is_registered_must_be_a_method_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._entries, "bare", keep_first)
    with pytest.raises(ReductionError, match="reduction bare: what is registered is a function, not a method"):
        get_method("bare")
    monkeypatch.setitem(METHODS._entries, "alias", get_method("tome"))
    with pytest.raises(ReductionError, match="reduction alias: what is registered under this name calls itself 'tome'"):
        get_method("alias")


@pytest.mark.parametrize(("limit", "shown"), [(99, "99"), (-1, "-1"), (2.0, "2.0"), (None, "None")])
def test_a_limit_that_no_block_has_is_refused_before_anything_runs(monkeypatch, limit, shown: str) -> None:
    register(monkeypatch, limit=lambda shape, options: limit)
    with pytest.raises(ReductionError, match=f"reduction odd: block 1: its limit is {shown}; of 23 tokens, 2 of them"):
        TokenReduction(schedule="constant:2", method="odd").removals(SHAPE)


def test_a_count_of_products_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, macs=lambda shape, r, options: r / 2)
    with pytest.raises(ReductionError, match="reduction odd: block 1: its macs are 1.0; give a whole number"):
        TokenReduction(schedule="constant:2", method="odd").choosing_macs(SHAPE, 23, 2)


def test_a_cell_of_a_notebook_can_be_run_again_and_a_name_that_is_taken_cannot_be_used(monkeypatch) -> None:
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))
    for label in ("first", "second"):
        register_method(reduction_method("mine", label=label, limit=all_free)(keep_first))
    assert get_method("mine").label == "second"
    with pytest.raises(ValueError, match="'tome' is already registered"):
        register_method(reduction_method("tome", label="mine", limit=all_free)(keep_first))


def test_tome_draws_where_its_partition_is_random() -> None:
    drawn = [TokenReduction(schedule="constant:2", options={"partition": kind}).draws for kind in ("random", "time")]
    assert drawn == [True, False]


def test_the_name_of_an_installed_packages_method_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = EntryPoint(name="odd", value="fastast.reduction.methods.slice:METHOD", group="fastast.methods")
    monkeypatch.setitem(METHODS.__dict__, "_installed", {"odd": [theirs]})
    with pytest.raises(ValueError, match="'odd' is already registered"):
        register_method(reduction_method("odd", label="odd", limit=all_free)(keep_first))
    assert "odd" not in METHODS._entries
