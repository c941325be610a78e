"""Means over the folds of ESC-50: of invented records, held against sums by hand."""

from __future__ import annotations

import pytest
from report.records import record

from bench.paper.folds import fold_means, folds_markdown
from bench.paper.weights import without_fold
from bench.report.frame import join

SCORES = {1: (0.95, 0.94), 2: (0.97, 0.93), 3: (0.92, 0.91)}


def joined() -> dict[int, object]:
    found = {}
    for fold, (plain, merged) in SCORES.items():
        records = [record("performance"), record("performance", "constant:40", seconds=0.5 * fold)]
        records += [
            record("quality", accuracy=plain),
            record("quality", "constant:40", accuracy=merged, delta=(merged - plain) / 2),  # accuracy's is twice it
        ]
        found[fold] = join(records if fold != 3 else records[:3])
    return found


def test_every_configuration_has_the_mean_over_its_folds() -> None:
    means = fold_means(joined())
    assert list(means["configuration"]) == ["unmerged", "ToMe, constant r"]
    plain, merged = means.to_dict("records")
    assert (plain["folds"], merged["folds"]) == (3, 2)
    assert plain["score"] == pytest.approx((0.95 + 0.97 + 0.92) / 3)
    assert (plain["least"], plain["most"]) == (0.92, 0.97)
    assert merged["score"] == pytest.approx((0.94 + 0.93) / 2)
    assert merged["delta"] == pytest.approx((-0.01 - 0.04) / 2)
    assert merged["speedup"] == pytest.approx((2 + 1) / 2, rel=1e-2)


def test_the_table_says_how_many_folds_a_mean_is_of() -> None:
    text = folds_markdown("paper_esc50-mine", fold_means(joined()))
    assert "| unmerged | 0 | 3 of 5 | 0.9467 | 0.9200 to 0.9700 | 0 | 1 |" in text
    assert "| 40 | 2 of 5 | 0.9350 | 0.9300 to 0.9400 | −0.0250 | 1.50 |" in text
    assert fold_means({}).empty


@pytest.mark.parametrize(
    ("slug", "expected"),
    [("fold3", "models"), ("fold3_best", "best"), ("esc_fold-2_last", "esc_last"), ("folder_a", "folder_a")],
)
def test_models_of_all_folds_share_a_name(slug: str, expected: str) -> None:
    assert without_fold(slug) == expected


def test_a_disturbed_speed_is_in_no_mean() -> None:
    def fold(seconds: float, status: str):
        merged = record("performance", "constant:40", seconds=seconds, status=status)
        return join([record("performance"), merged, record("quality"), record("quality", "constant:40")])

    means = fold_means({1: fold(0.5, "ok"), 2: fold(0.1, "disturbed")}).set_index("schedule")
    assert means.loc["constant:40", "speedup"] == pytest.approx(2, rel=1e-2)
    assert means.loc["constant:40", "folds"] == 2
