"""Figures of a study in which arms stand at one place: every interval can be seen, and every place is what it says."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bench.study.figures.claim import claim_figure
from bench.study.figures.families import FAMILIES, family_figure
from bench.study.figures.speed import speed_figure
from bench.study.frame import CLAIM

SPEEDS = {"constant:300": 5.5, "constant:60": 2.2, "constant:100": 3.3}


def claims() -> pd.DataFrame:
    rows = [
        {"group": CLAIM, "label": label, "schedule": schedule, "speedup": speed, "against": "AST"}
        | {"against_schedule": "constant:0", "delta": -speed / 100, "delta_low": -0.1, "delta_high": 0.01}
        | {"delta_seeds": 3, "against_seeds": 3, "seeds": 3, "recordings": 0}
        for label in ("one", "two", "three")
        for schedule, speed in SPEEDS.items()
    ]
    return pd.DataFrame(rows)


def test_intervals_of_one_schedule_stand_beside_each_other_from_slow_to_fast() -> None:
    figure = claim_figure(claims(), "notes")
    (axis,) = figure.axes
    lines = [line for line in axis.lines if line.get_marker() in ("o", "s", "^")]
    places = [tuple(line.get_xdata()) for line in lines]
    for step in range(3):
        at = sorted(place[step] for place in places)
        assert at[1] - at[0] > 0.1 < at[2] - at[1]
        assert all(round(x) == step for x in at)
    assert [label.get_text() for label in axis.get_xticklabels()] == [
        "r = 60\n2.20 ×",
        "r = 100\n3.30 ×",
        "r = 300\n5.50 ×",
    ]
    assert list(lines[0].get_ydata()) == pytest.approx([-0.022, -0.033, -0.055])
    plt.close(figure)


def test_speeds_are_said_to_be_of_a_machine_and_what_ran_there() -> None:
    figure = claim_figure(claims(), "notes", "Speeds are of Abacus.")
    assert figure.get_supxlabel().replace("\n", " ").endswith("seeds and clips. Speeds are of Abacus.")
    rows = claims().assign(group="main", arm="one", mAP=0.4, mAP_low=0.4, mAP_high=0.4)
    figure = speed_figure(rows, "one", "notes", "Speeds are of Abacus.")
    assert figure.get_supxlabel().replace("\n", " ").endswith("Speeds are of Abacus.")
    plt.close("all")


HELD = {"delta": -0.1, "delta_low": -0.2, "delta_high": 0.0, "against": "AST", "against_schedule": "constant:0"}


def families_of(schedules: dict[str, tuple[str, ...]], seeds: int = 1) -> pd.DataFrame:
    rows = [
        {"label": label, "family": family, "schedule": schedule, "seeds": seeds} | HELD
        for label, names in schedules.items()
        for schedule in names
        for family in FAMILIES
    ]
    return pd.DataFrame(rows)


def test_families_stand_at_their_r_on_one_axis() -> None:
    asked = {
        "one": ("constant:0", "constant:45", "constant:60", "constant:300"),
        "two": ("constant:45", "constant:300"),
    }
    figure = family_figure(families_of(asked), "notes")
    places = [tuple(axis.lines[0].get_xdata()) for axis in figure.axes]
    assert places == [(45, 60, 300), (45, 300)]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    plt.close(figure)


def test_schedules_without_an_r_of_their_own_have_one_place_in_all_panels() -> None:
    asked = {"one": ("constant:45", "decreasing:45", "keep:0.9"), "two": ("constant:45", "keep:0.9")}
    figure = family_figure(families_of(asked), "notes")
    assert [tuple(axis.lines[0].get_xdata()) for axis in figure.axes] == [(0, 1, 2), (0, 2)]
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["r = 45", "decreasing:45", "keep:0.9"]
    plt.close(figure)


def test_families_are_said_to_be_held_against_a_model_and_its_schedule() -> None:
    figure = family_figure(families_of({"one": ("constant:45",)}), "on clips")
    said = figure.get_supxlabel().replace("\n", " ")
    assert said.startswith("on clips; difference to “AST”, no merging; mean over the classes of a family")
    plt.close(figure)


@pytest.mark.parametrize(("seeds", "said"), [(1, "of one seed."), (3, "bars: lowest to highest seed.")])
def test_bars_are_told_of_where_there_are_seeds(seeds: int, said: str) -> None:
    figure = family_figure(families_of({"one": ("constant:45",)}, seeds), "notes")
    assert any(text.get_text().replace("\n", " ").endswith(said) for text in figure.texts)
    plt.close(figure)
