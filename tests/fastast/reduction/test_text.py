"""Reductions as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastast.cli import app
from fastast.reduction import ReductionError, TokenReduction
from fastast.reduction.text import override, read_options, read_reduction
from fastast.schedule import Constant


def test_options_of_the_method_and_of_every_reduction_are_read_by_their_types() -> None:
    texts = ["metric=queries", "proportional=false", "num_protected=1", "combine = mean", "seed=3"]
    assert read_reduction("constant:40", options=texts, excess="cap") == TokenReduction(
        schedule=Constant(40),
        method="tome",
        options={"metric": "queries"},
        proportional=False,
        num_protected=1,
        combine="mean",
        seed=3,
        excess="cap",
    )
    assert read_options("tome", ["num_protected=none"]) == {"num_protected": None}
    assert read_reduction("constant:40", method="slice") == TokenReduction(schedule=Constant(40), method="slice")
    assert read_reduction(None) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["metric"], "--option metric: write NAME=VALUE"),
        (["metrics=keys"], r"unknown option 'metrics'\. Did you mean 'metric'\?"),
        (["metric=key"], "metric is 'key'; allowed: keys, queries"),
        (["proportional=yes"], "proportional is 'yes'; give true or false"),
        (["num_protected=1.5"], "give a whole number"),
        (["metric=keys", "metric=values"], "metric is given twice"),
        (["schedule=constant:3"], "give it as --schedule constant:3"),
        (["method=slice"], "give it as --method slice"),
    ],
)
def test_what_cannot_be_read_is_named(options: list[str], message: str) -> None:
    with pytest.raises(ReductionError, match=message):
        read_reduction("constant:40", options=options)


@pytest.mark.parametrize("unused", [{"method": "tome"}, {"options": ["metric=keys"]}, {"excess": "cap"}])
def test_nothing_that_was_asked_for_is_left_unused(unused: dict[str, object]) -> None:
    with pytest.raises(ReductionError, match="nothing is merged without a schedule; give --schedule constant:40"):
        read_reduction(None, **unused)  # type: ignore[arg-type]


def test_a_reduction_is_overridden_and_options_do_not_outlive_their_method() -> None:
    base = TokenReduction(schedule=Constant(4), options={"metric": "values"}, proportional=False, excess="cap")
    assert override(base) == base
    assert override(base, options=["order=position"]) == TokenReduction(
        schedule=Constant(4), options={"metric": "values", "order": "position"}, proportional=False, excess="cap"
    )
    assert override(base, method="slice", excess="refuse") == TokenReduction(
        schedule=Constant(4), method="slice", proportional=False
    )
    with pytest.raises(ReductionError, match="reduction slice: unknown option 'metric'"):
        override(base, method="slice", options=["metric=keys"])
    with pytest.raises(ValueError, match="Did you mean 'slice'"):
        override(base, method="slise")


def test_a_file_tuned_for_one_method_is_refused_with_another(tmp_path: Path) -> None:
    path = tmp_path / "tuned.toml"
    path.write_text('[reduction]\nmethod = "tome"\nschedule = "constant:4"\nmetric = "values"\n')
    with pytest.raises(ReductionError, match=r"tuned\.toml was tuned for tome; give method='tome', or the list"):
        read_reduction(str(path), method="topk")
    assert str(read_reduction(str(path), method="tome")) == "tome constant:4 metric=values"
    shown = CliRunner().invoke(app, ["info", "ast_tiny_soundscapes", "--schedule", str(path), "--method", "topk"])
    assert shown.exit_code == 1
    assert "was tuned for tome" in shown.output
