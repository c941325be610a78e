"""What a reader sees of an ablation: whether it can be told apart from what it is held against."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.study.figures import ablation_figure


def test_the_bar_is_the_interval_of_the_difference_and_the_axis_is_as_wide() -> None:
    row = {"group": "λ", "arm": "small", "label": "λ = 0.1", "schedule": "constant:8", "mAP": 0.3087}
    held = {"against_mAP": 0.3079, "delta": 0.0008, "delta_low": -0.0056, "delta_high": 0.0072}
    axis = ablation_figure(pd.DataFrame([row | held]), "notes").axes[0]
    (bar,) = (bar for bars in axis.containers for bar in bars[2])
    (low, _), (high, _) = bar.get_segments()[0]
    assert (low, high) == pytest.approx((0.3087 - 0.0064, 0.3087 + 0.0064))
    left, right = axis.get_xlim()
    assert left < low < 0.3079 < high < right
