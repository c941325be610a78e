"""The figure of what classes lose: those that lose most are named, each with an interval that nothing covers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bench.ablation.classes import class_figure, class_sentence

LOSSES = {f"class {number}": -0.01 * number for number in range(1, 9)}
"""At the largest r; half of it at the other."""


@pytest.fixture
def changes() -> pd.DataFrame:
    rows = [
        {
            "alternative": name,
            "at": r,
            "value": loss * r / 40,
            "low": loss * r / 40 - 0.02,
            "high": loss * r / 40 + 0.03,
        }
        for name, loss in LOSSES.items()
        for r in (20, 40)
    ]
    return pd.DataFrame(rows)


def test_those_that_lose_most_have_their_own_intervals_side_by_side(changes):
    figure = class_figure(changes, "ToMe")
    axis, strip = figure.axes
    worst = sorted(LOSSES.values())[:6]
    spans = [collection.get_segments()[0] for collection in strip.collections]
    assert [span[0][0] for span in spans] == list(range(6))
    assert [(span[0][1], span[1][1]) for span in spans] == [pytest.approx((loss - 0.02, loss + 0.03)) for loss in worst]
    assert [text.get_text() for text in strip.texts] == sorted(LOSSES, key=LOSSES.__getitem__)[:6]
    assert strip.get_xlabel() == "r = 40"
    assert strip.get_ylim() == axis.get_ylim()
    plt.close(figure)


def test_classes_are_told_apart_without_colour_and_by_their_names(changes):
    figure = class_figure(changes, "ToMe")
    axis, strip = figure.axes
    marked = {line.get_color(): line.get_marker() for line in axis.lines if line.get_marker() not in ("", "None")}
    assert len(marked) == len(set(marked.values())) == 6
    before = {line.get_ydata()[0]: line for line in strip.lines if not line.get_clip_on()}
    for text in strip.texts:  # the marker that stands at the height of a name is that of the line of its colour
        assert before[text.xy[1]].get_marker() == marked[text.get_color()]
    plt.close(figure)


def test_lines_stand_where_they_were_measured(changes):
    figure = class_figure(changes, "ToMe")
    lines = [tuple(line.get_ydata()) for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert lines == [pytest.approx((0, loss / 2, loss)) for loss in LOSSES.values()]
    plt.close(figure)


def test_the_sentence_counts_those_whose_interval_is_without_zero(changes):
    assert class_sentence(changes, "ToMe") == (
        "With ToMe at r = 40, 5 of 8 classes lose average precision and 0 gain, by 95 % intervals that exclude zero; "
        "class 8 loses most, −0.080 [−0.100, −0.050]. The intervals are not corrected for choosing the worst of so "
        "many classes."
    )


def test_it_says_how_the_named_were_chosen_and_what_it_is_of(changes):
    figure = class_figure(changes, "ToMe", "Abacus, batch size 8", "weights; PyTorch 1")
    said = figure.get_supxlabel().split("\n")
    assert said[:2] == ["Abacus, batch size 8", "weights; PyTorch 1"]
    assert " ".join(said[2:]) == (
        "named: the 6 of 8 classes that lose most at r = 40, chosen by this very number; bars: 95 % intervals of the "
        "difference paired over clips, not corrected for that"
    )
    figure.canvas.draw()
    box = figure._supxlabel.get_window_extent()
    assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
    plt.close(figure)
