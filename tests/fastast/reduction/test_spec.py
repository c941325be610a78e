"""TokenReduction is a value, and its methods have names."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from fastast.geometry import geometry
from fastast.hosts import reduce
from fastast.reduction import (
    MergePlan,
    ReductionError,
    TokenReduction,
    get_method,
    method_names,
    reduction_method,
    register_method,
)
from fastast.reduction.registry import METHODS
from fastast.schedule import Constant, Linear


def test_equal_questions_are_equal_values() -> None:
    one, two = (TokenReduction(schedule=Linear(16, -1)) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert str(one) == "tome decreasing:16"
    assert str(TokenReduction(schedule=Constant(4), proportional=False, options={"order": "position"})) == (
        "tome constant:4 proportional=False order=position"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "tom"}, "Did you mean 'tome'"),
        ({"method": "mine"}, "'mine'.*; register one of your own with fastast.reduction.register_method first$"),
        ({"options": {"metric": "key"}}, "metric is 'key'; allowed: keys, queries, values"),
        ({"options": {"order": "random"}}, "allowed: tome, position"),
        ({"options": {"metrics": "keys"}}, "unknown option 'metrics'. Did you mean 'metric'"),
        ({"method": "slice", "options": {"metric": "keys"}}, "unknown option 'metric'. There are none"),
        ({"combine": "sum"}, "There are: method, size, mean, norm, keep"),
        ({"excess": "clip"}, "There are: refuse, cap"),
        ({"num_protected": -1}, "allowed are None, 0, 1"),
        ({"schedule": 5}, "schedule is 5; give a text such as 'constant:40'"),
    ],
)
def test_a_bad_field_says_what_is_allowed(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenReduction(**({"schedule": Constant(1)} | fields))  # type: ignore[arg-type]


def test_the_largest_constant_r_of_ast_base() -> None:
    # The 12th block has n - 11 r tokens and can merge half of the n - 2 - 11 r unprotected: r <= (n - 2) / 13.
    for frames, stride, most in ((1024, 10, 1212 // 13), (512, 10, 600 // 13), (1024, 16, 512 // 13)):
        shape = geometry("base", num_frames=frames, fstride=stride, tstride=stride)
        assert len(TokenReduction(schedule=Constant(most)).tokens_per_block(shape)) == 12
        with pytest.raises(ReductionError, match="block 12 of 12"):
            TokenReduction(schedule=Constant(most + 1)).tokens_per_block(shape)


def test_a_new_method_is_one_function(small_model, small_fbank) -> None:
    @reduction_method("first", label="first", limit=lambda shape, options: shape.num_free)
    def first_half(tokens, r, options):
        return MergePlan(num_tokens=tokens.num_tokens, owner=slice(0, tokens.num_tokens - r))

    register_method(first_half)
    try:
        assert "first" in method_names()
        assert get_method("first") is first_half
        with reduce(small_model, TokenReduction(method="first", schedule=Constant(20))) as handle:
            assert handle.tokens_per_block == (50, 30, 10)
            assert torch.isfinite(small_model(small_fbank)).all()
        with pytest.raises(ValueError, match="'first' is already registered"):
            register_method(dataclasses.replace(first_half, choose=lambda tokens, r, options: None))
    finally:
        del METHODS._entries["first"]


def test_an_unknown_attention_kernel_is_refused_before_anything_is_attached(small_model) -> None:
    with pytest.raises(ValueError, match="unknown kernel 'fast'"):
        reduce(small_model, TokenReduction(schedule=Constant(1)), attention="fast")
    assert small_model.attached is None


@pytest.mark.parametrize("excess", ["refuse", "cap"])
def test_to_protect_every_token_is_refused(small_geometry, excess) -> None:
    """With `cap` it would merge nothing and say nothing."""
    for count in (70, 900):
        with pytest.raises(ReductionError, match=rf"num_protected is {count}, .* has 70 tokens: .* give at most 69"):
            TokenReduction(schedule=Constant(4), num_protected=count, excess=excess).removals(small_geometry)
    capped = TokenReduction(schedule=Constant(4), num_protected=69, excess="cap", method="random")
    assert capped.removals(small_geometry) == (1, 0, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"proportional": "false"}, "proportional is 'false'; give true or false"),
        ({"weighted_pooling": "no"}, "weighted_pooling is 'no'; give true or false"),
        ({"seed": 1.0}, "seed is 1.0; give a whole number"),
        ({"seed": [1]}, r"seed is \[1\]; give a whole number"),
        ({"num_protected": "2"}, "num_protected is '2'; give a whole number"),
        ({"num_protected": True}, "num_protected is True; give a whole number"),
        ({"method": ["tome"]}, r"method is \['tome'\]; give a text"),
    ],
)
def test_a_value_of_another_type_is_refused(fields: dict[str, object], message: str) -> None:
    for make in (TokenReduction, lambda **values: TokenReduction.from_dict(values)):
        with pytest.raises(ReductionError, match=message):
            make(schedule="constant:4", **fields)


def test_options_as_an_object_are_checked_as_values_are() -> None:
    options = get_method("tome").options
    with pytest.raises(ReductionError, match="metric is 'keyz'; allowed: keys, queries"):
        TokenReduction(schedule=Constant(4), options=options(metric="keyz"))
    with pytest.raises(ReductionError, match="give a mapping of names to values"):
        TokenReduction(schedule=Constant(4), method="local", options=get_method("algm").options())
    right = options(metric="queries")
    assert TokenReduction(schedule=Constant(4), options=right).options == right


def test_a_schedule_file_without_a_method_is_of_the_usual_one(tmp_path) -> None:
    path = tmp_path / "tuned.toml"
    path.write_text('[reduction]\nschedule = "constant:1"\nmetric = "values"\n')
    for values in ({}, {"method": "tome"}):
        assert TokenReduction.from_dict({"schedule": str(path), **values}).options.metric == "values"
    with pytest.raises(ReductionError, match="tuned.toml was tuned for tome"):
        TokenReduction.from_dict({"schedule": str(path), "method": "topk"})


def test_scalars_of_numpy_are_the_numbers_that_they_are() -> None:
    mine = TokenReduction(
        schedule=Constant(np.int64(4)),  # type: ignore[arg-type]
        method=np.str_("pitome"),
        options={"margin": np.float64(0.5)},
        proportional=np.bool_(False),  # type: ignore[arg-type]
        num_protected=np.int32(1),  # type: ignore[arg-type]
        seed=np.int64(3),  # type: ignore[arg-type]
    )
    plain = TokenReduction(
        schedule=Constant(4), method="pitome", options={"margin": 0.5}, proportional=False, num_protected=1, seed=3
    )
    assert mine == plain
    assert (str(mine), repr(mine)) == (str(plain), repr(plain))
    assert json.dumps(mine.to_dict()) == json.dumps(plain.to_dict())
    assert [type(value) for value in mine.to_dict().values()] == [type(value) for value in plain.to_dict().values()]
    with pytest.raises(ReductionError, match=r"reduction: seed is 1\.0; give a whole number"):
        TokenReduction(schedule=Constant(4), seed=np.float64(1.0))  # type: ignore[arg-type]
