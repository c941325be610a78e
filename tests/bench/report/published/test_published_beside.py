"""Published figures stand beside the measured front of a paper's sweep, apart from it, where they honestly can."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

sys.path.insert(0, str(Path(__file__).parents[1]))
import records as made

from bench.records.schema import Record
from bench.report.drawing.layout import ELSEWHERE
from bench.report.drawing.style import DOUBLE, SINGLE, paper_style
from bench.report.figures.pareto import pareto_figure
from bench.report.frame import join
from bench.report.published.figures import published


def paper(sweep: str, quality: float, *, accuracy: bool = False, **changes: object) -> list[Record]:
    """The unmerged model and three schedules, of which the last is 0.02 below the first."""
    found = []
    for schedule, loss, seconds in (("none", 0.0, 1.0), ("constant:20", 0.005, 0.8), ("constant:40", 0.02, 0.5)):
        score = {"accuracy": quality - loss} if accuracy else {}
        found.append(made.record("quality", schedule, quality=quality - loss, **score))
        found += [made.record("performance", schedule, seconds=seconds, batch_size=b, **changes) for b in (1, 8)]
    return [record.model_copy(update={"sweep": sweep}) for record in found]


def front(records: list[Record], width: float = DOUBLE):
    with paper_style():
        figure = pareto_figure(join(records), width=width)
        figure.canvas.draw()
    return figure


def is_name(text: Text) -> bool:
    """Whether a text is placed beside the frame, and seen."""
    return not isinstance(text.xycoords, str) and text.get_alpha() is None


def drawn(figure) -> dict[str, float]:
    """Names at the right edge and the heights of their markers, both in data coordinates."""
    found = {}
    for axis in figure.axes:
        marks = [line for line in axis.lines if line.get_marker() == ELSEWHERE["marker"] and not line.get_clip_on()]
        names = [text for text in axis.texts if is_name(text)]
        assert len(marks) == len(names)
        for mark, name in zip(marks, names, strict=True):
            assert mark.get_xdata()[0] > 1  # of the axis' width: beyond the frame
            found[name.get_text()] = float(mark.get_ydata()[0])
    return found


@pytest.mark.parametrize("width", [SINGLE, DOUBLE])
def test_those_near_the_measured_ones_stand_at_their_scores_once_per_row(width: float) -> None:
    figure = front(paper("paper_audioset-mine", 0.459), width)
    found = drawn(figure)
    assert found["AST 0.459"] == 0.459
    assert found["AST, stride 16 0.4422"] == 0.4422
    assert found["CED-Base 0.500"] == 0.5
    assert {(name.rpartition(" ")[0], score) for name, score in found.items()} <= {
        (one.model, one.mAP) for one in published("paper_audioset")
    }
    assert len({axis.get_ylim() for axis in figure.axes if width == DOUBLE}) <= 1
    bottom, top = figure.axes[-1].get_ylim()
    assert all(bottom < score < top for score in found.values())
    assert "published elsewhere" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_names_do_not_cover_one_another_and_stay_on_the_page() -> None:
    figure = front(paper("paper_audioset", 0.48))
    names = [text for axis in figure.axes for text in axis.texts if is_name(text)]
    assert len(names) > 10
    boxes = [Text.get_window_extent(text) for text in names]  # without the arrow to the marker
    middles = np.sort([(box.y0 + box.y1) / 2 for box in boxes])
    assert np.diff(middles).min() >= 5.5 * figure.dpi / 72
    assert max(box.x1 for box in boxes) <= figure.bbox.x1


def test_what_is_far_off_is_counted_and_stretches_nothing() -> None:
    alone = front(paper("invented", 0.05))
    figure = front(paper("paper_audioset", 0.05))
    assert not drawn(figure)
    assert figure.axes[0].get_ylim() == alone.axes[0].get_ylim()
    count = len(published("paper_audioset"))
    assert f"published elsewhere, not drawn here: {count} figures, in published.md" in figure.get_supxlabel()
    near = front(paper("paper_audioset", 0.40))
    away = count - len(drawn(near))
    assert 0 < away < count
    assert f"{away} further off, in published.md" in " ".join(near.get_supxlabel().split())


def test_accuracies_stand_beside_accuracies_only() -> None:
    figure = front(paper("paper_esc50-fold1", 0.95, accuracy=True))
    assert drawn(figure) == {"AST, AudioSet first 0.9575": 0.9575}
    assert not drawn(front(paper("paper_esc50-fold1", 0.95)))  # scored by mAP


def test_other_sweeps_and_disturbed_points_have_none_beside_them() -> None:
    assert not drawn(front(paper("invented", 0.459)))
    assert not drawn(front(paper("paper_audioset", 0.459, status="disturbed")))
