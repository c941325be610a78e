"""The figure of many methods: nothing of the usual ones is cut, numbers cover no line, and what is absent is named."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bench.ablation.evidence import Configuration, Evidence
from bench.ablation.figure import facets
from bench.ablation.series import Alternatives, Series

UNMERGED = Evidence(value=0.5, replicates=np.full(200, 0.5))
POINTS = {
    "ToMe": ((1.5, -0.002, 0.001), (2.5, -0.004, 0.001)),
    "wide": ((1.6, -0.004, 0.001), (2.6, -0.006, 0.008)),
    "near": ((1.5, -0.004, 0.001), (3.0, -0.007, 0.001)),
    "far": ((1.3, -0.010, 0.001), (1.8, -0.200, 0.001)),
    "slow": ((0.8, -0.002, 0.001), (0.7, -0.003, 0.001)),
    "gone": (None, (2.0, -0.005, 0.001)),
    "untimed": (None, None),
}
"""Speed-up, loss and half of its interval, at r = 20 and 40; None: the speed was disturbed."""


def configuration(r: int, point: tuple[float, float, float] | None) -> Configuration:
    speed, loss, half = point or (None, -0.004, 0.001)
    spread = np.linspace(-half / 0.95, half / 0.95, 200)
    return Configuration(
        reduction={"method": "tome", "schedule": f"constant:{r}"},
        quality=Evidence(value=0.5 + loss, replicates=0.5 + loss + spread),
        speedup=None if speed is None else Evidence(value=speed, replicates=np.full(200, speed)),
        throughput=None,
        macs_ratio=None,
    )


@pytest.fixture
def figure():
    series = tuple(
        Series(
            name=name,
            chosen=name == "ToMe",
            points=tuple(configuration(r, point) for r, point in zip((20, 40), points, strict=True)),
            rs=(20, 40),
        )
        for name, points in POINTS.items()
    )
    itself = Configuration(reduction=None, quality=UNMERGED, speedup=None, throughput=None, macs_ratio=None)
    drawn = facets(
        Alternatives(axes=("method",), series=series, unmerged=itself),
        "mAP",
        "Abacus, batch size 8",
        "weights; PyTorch 1",
    )
    drawn.canvas.draw()
    yield drawn
    plt.close(drawn)


def panels(figure):
    return {axis.get_title(loc="left"): axis for axis in figure.axes if axis.get_visible()}


def test_no_interval_of_the_usual_methods_is_cut(figure) -> None:
    found = panels(figure)
    assert "cut at" in figure.get_suptitle()
    low, high = found["wide"].get_ylim()
    assert low < -0.006 - 0.008 < -0.006 + 0.008 < high  # by hand, from POINTS
    assert low > -0.1, "the one that loses far more stretches nothing"
    assert "far loses up to 0.200" in figure.get_suptitle()


def test_what_has_no_point_is_named_and_so_is_what_has_no_panel(figure) -> None:
    said = " ".join(figure.get_suptitle().split())
    assert (
        "no point, as a speed was disturbed or not measured, or a quality was not: gone 20, untimed 20 and 40" in said
    )
    assert "no panel, as nothing of it is faster than unmerged: slow" in said
    assert set(panels(figure)) == {"ToMe", "wide", "near", "far", "gone"}


def test_numbers_stand_inside_and_strike_through_no_line(figure) -> None:
    for name, axis in panels(figure).items():
        frame = axis.get_window_extent()
        for text in axis.texts:
            box = text.get_window_extent()
            assert frame.x0 <= box.x0 <= box.x1 <= frame.x1, (name, text.get_text())
            assert frame.y0 <= box.y0 <= box.y1 <= frame.y1, (name, text.get_text())
            for line in axis.lines:
                if line.get_color() == "#cccccc" or len(line.get_xdata()) < 2:
                    continue
                x, y = line.get_transform().transform(np.column_stack(line.get_data())).T
                along = np.linspace(0, len(x) - 1, 2000)
                x, y = (np.interp(along, range(len(values)), values) for values in (x, y))
                inside = (box.x0 < x) & (x < box.x1) & (box.y0 + 2 < y) & (y < box.y1 - 2)
                assert not inside.any(), (name, text.get_text(), line.get_linestyle())
    assert [text.get_text() for text in panels(figure)["far"].texts] == ["20"]  # the other is cut away


def test_it_says_what_ran_where_and_what_its_bars_are(figure) -> None:
    assert figure.get_supxlabel().split("\n") == [
        "Abacus, batch size 8",
        "weights; PyTorch 1",
        "bars: 95 % intervals, of the difference in mAP paired over clips, of the speed-up over rounds",
    ]
    below = [axis for axis in panels(figure).values() if axis.get_xlabel()]
    assert {axis.get_xlabel() for axis in below} == {"Speed-up over unmerged"}
    assert len(below) == 1  # of five panels in two rows of four, the lowest row
