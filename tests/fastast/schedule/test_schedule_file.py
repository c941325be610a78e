"""A schedule in a file stands wherever a schedule may."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.sweep.file import load_sweep
from fastast.reduction import ReductionError, TokenReduction, get_method
from fastast.reduction.text import read_reduction
from fastast.schedule import PerBlock, parse_schedule
from fastast.schedule.file import ScheduleFileError
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.parts.reduction import ReductionPart

LIST = "list:" + ",".join(["30"] * 6 + ["0"] * 6)


@pytest.fixture
def tuned(tmp_path: Path) -> str:
    path = tmp_path / "tuned.toml"
    path.write_text(f'[reduction]\nmethod = "pitome"\nschedule = "{LIST}"\nmargin = 0.5\n[tuning]\nclips = 3\n')
    return str(path)


def test_it_is_read_as_its_list(tuned: str) -> None:
    assert parse_schedule(tuned) == PerBlock((30,) * 6 + (0,) * 6)


def test_a_command_line_takes_method_and_options_with_it(tuned: str) -> None:
    reduction = read_reduction(tuned)
    assert reduction is not None
    assert (reduction.method, str(reduction.schedule), reduction.options.margin) == ("pitome", LIST, 0.5)


def test_what_is_said_beside_it_overrides_it(tuned: str) -> None:
    other = read_reduction(tuned, options=("margin=0.25",))
    assert other is not None
    assert other.options.margin == 0.25
    same = read_reduction(tuned, method="pitome", excess="cap")
    assert same is not None
    assert (same.method, str(same.schedule), same.options.margin, same.excess) == ("pitome", LIST, 0.5, "cap")


def test_another_method_is_not_taken_silently(tuned: str) -> None:
    with pytest.raises(ReductionError, match="was tuned for pitome; give method='pitome', or the list"):
        read_reduction(tuned, method="tome")
    for make in (TokenReduction, lambda **values: TokenReduction.from_dict(values)):
        with pytest.raises(ReductionError, match="was tuned for pitome; give method='pitome', or the list"):
            make(schedule=tuned, method="tome")
        assert make(schedule=tuned, method="pitome").method == "pitome"
    with pytest.raises(RecipeError, match="was tuned for pitome"):
        ReductionPart.from_table({"schedule": tuned, "method": "tome"})


def test_in_python_it_brings_all_that_it_was_tuned_with(tmp_path: Path) -> None:
    path = tmp_path / "tuned.toml"
    path.write_text(
        '[reduction]\nmethod = "tome"\nschedule = "constant:4"\nmetric = "values"\nthreshold = 0.9\nseed = 3\n'
    )
    both = TokenReduction(schedule=str(path)), TokenReduction.from_dict({"schedule": str(path)})  # type: ignore[arg-type]
    for made in both:
        assert (made.options.metric, made.threshold, made.seed) == ("values", 0.9, 3)
    assert both[0] == both[1]
    usual = get_method("tome").options
    assert TokenReduction(schedule=str(path), options=usual()) == both[0]  # type: ignore[arg-type]
    one = TokenReduction(schedule=str(path), options=usual(order="position"))  # type: ignore[arg-type]
    assert (one.options.metric, one.options.order) == ("values", "position")
    said = TokenReduction(schedule=str(path), options={"metric": "queries"}, threshold=0.5)  # type: ignore[arg-type]
    assert (said.options.metric, said.threshold, said.seed) == ("queries", 0.5, 3)


def test_a_recipe_takes_it_and_is_known_by_what_is_in_it(tuned: str) -> None:
    part = ReductionPart.from_table({"schedule": tuned})
    assert part.question() == ReductionPart.from_table({"schedule": LIST, "method": "pitome", "margin": 0.5}).question()


def test_a_sweep_takes_it(tuned: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(
        f'name = "x"\nkinds = ["performance"]\n[model]\nname = "ast_tiny"\n[grid]\nschedule = ["{tuned}"]\n'
        'method = ["pitome"]\n'
    )
    assert load_sweep(path).grid.schedule == (tuned,)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "there is no such file"), ("a = [", "not readable as TOML"), ("[tuning]\n", r"no \[reduction\]")],
)
def test_a_file_without_a_schedule_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ScheduleFileError, match=f"bad.toml: .*{words}"):
        parse_schedule(str(path))
