"""What a reader sees of an ablation: whether it can be told apart from what it is held against."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.report.drawing.style import paper_style
from bench.study.figures.ablation import ablation_figure
from bench.study.groups import held_against, mixed
from bench.study.words import chance_words

ROW = {"group": "λ", "arm": "small", "label": "λ = 0.1", "schedule": "constant:8", "mAP": 0.3087}
HELD = {"against_mAP": 0.3079, "delta": 0.0008, "delta_low": -0.0056, "delta_high": 0.0072, "recordings": True}
HELD |= {"delta_seeds": 3, "against_seeds": 3, "seeds": 3, "against": "λ = 0.5", "against_schedule": "constant:8"}


def test_the_bar_is_the_interval_of_the_difference_and_the_axis_is_as_wide() -> None:
    axis = ablation_figure(pd.DataFrame([ROW | HELD]), "notes").axes[0]
    (bar,) = (bar for bars in axis.containers for bar in bars[2])
    (low, _), (high, _) = bar.get_segments()[0]
    assert (low, high) == pytest.approx((0.3087 - 0.0064, 0.3087 + 0.0064))
    left, right = axis.get_xlim()
    assert left < low < 0.3079 < high < right


@pytest.mark.parametrize("recordings", [True, False])
def test_it_says_what_its_intervals_know_of(recordings: bool) -> None:
    figure = ablation_figure(pd.DataFrame([ROW | HELD | {"recordings": recordings}]), "notes")
    (words,) = (text.get_text().replace("\n", " ") for text in figure.texts if "Bars" in text.get_text())
    assert ("over seeds, clips and recordings;" in words) == recordings
    assert ("over seeds and clips;" in words) != recordings


@pytest.mark.parametrize("recordings", [True, False])
def test_of_one_seed_nothing_is_known_of_seeds(recordings: bool) -> None:
    figure = ablation_figure(
        pd.DataFrame([ROW | HELD | {"recordings": recordings, "delta_seeds": 1, "against_seeds": 1}]), "notes"
    )
    (words,) = (text.get_text().replace("\n", " ") for text in figure.texts if "Bars" in text.get_text())
    assert f"over clips{' and recordings' * recordings} of one seed;" in words


def words_of(figure) -> str:
    return figure.get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize(
    ("seeds", "points", "hollow"), [(3, "mean over the seeds", "mean over its"), (1, "of one seed each", "of one seed")]
)
def test_points_and_hollow_ones_are_said_to_be_what_they_are(seeds: int, points: str, hollow: str) -> None:
    counts = {"seeds": seeds, "delta_seeds": seeds, "against_seeds": seeds}
    said = words_of(ablation_figure(pd.DataFrame([ROW | HELD | counts]), "notes"))
    assert f"notes. Points: {points}. Hollow: what the arm is held against, {hollow}" in said


def test_every_panel_names_what_its_arms_are_held_against_inside_the_figure() -> None:
    long = "a student of a teacher with a name that is a good deal longer than its axis is wide, and then some"
    rows = [ROW | HELD, ROW | HELD | {"label": "λ = 0.9"}, ROW | HELD | {"label": "λ = 1", "against": long}]
    with paper_style():
        figure = ablation_figure(pd.DataFrame(rows), "notes")
        figure.draw_without_rendering()
    titles = [axis.get_title(loc="left").replace("\n", " ") for axis in figure.axes]
    assert titles == [
        "λ. Difference to “λ = 0.5”, under the same schedule.",
        f"λ. Difference to “{long}”, under the same schedule.",
    ]
    assert [len(axis.get_yticks()) for axis in figure.axes] == [2, 1]
    for axis in figure.axes:
        box = axis.get_tightbbox()
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1 + 1


def test_some_of_one_seed_are_told_from_those_of_several() -> None:
    several, one = ROW | HELD, ROW | HELD | {"delta_seeds": 1, "against_seeds": 1}
    assert chance_words(pd.DataFrame([several, ROW | HELD | {"delta_seeds": 1}])) == "seeds, clips and recordings"
    assert chance_words(pd.DataFrame([several, one])) == (
        "seeds, clips and recordings, or clips and recordings alone where both sides have one seed"
    )


def test_a_table_of_one_arm_names_what_it_is_held_against_unless_the_schedules_differ() -> None:
    same = {"against": "AST", "schedule": "constant:8", "against_schedule": "constant:8"}
    first = {"against": "AST", "schedule": "constant:4", "against_schedule": "constant:0"}
    none = {"against": "AST", "schedule": "constant:0", "against_schedule": "constant:0"}
    assert held_against(pd.DataFrame([same, none])) == "Difference to “AST”, under the same schedule."
    assert held_against(pd.DataFrame([first, none])) == "Difference to “AST”, no merging."
    assert not mixed(pd.DataFrame([same, none]))
    assert held_against(pd.DataFrame([same, first])) == ""
    assert mixed(pd.DataFrame([same, first]))
