"""What is bold and underlined in a table of alternatives is known to be the best, and a caption says so."""

from __future__ import annotations

import re

import pytest

from bench.ablation.table import AblationTable, emphasis

BEST, SECOND = "textbf", "underline"


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["1.10 [1.00, 1.20]", "1.30 [1.20, 1.40]", "1.20"], {1: BEST, 2: SECOND}),
        (["−0.0020", "0.0000", "−0.0010 ▼"], {1: BEST, 2: SECOND}),
        (["2.47 [1.50, 2.77]", "≥ 2.17", "1.20"], {}),  # the second may be better than the first
        (["2.27", "≥ 2.90", "1.20"], {1: BEST, 0: SECOND}),  # nothing can be better than what is beyond all
        (["≥ 2.66", "≥ 3.00", "1.20"], {}),  # either may be better
        (["3.20", "3.20", "1.20"], {0: BEST, 1: BEST}),  # equals are both best, and leave no second
        (["1", "1.50", "1", "1"], {1: BEST}),  # what makes nothing faster is the best of nothing
        (["not reached", "1.50", "1.20", "from 2.00 ×"], {1: BEST}),
        (["2", "2", "2"], {}),
        (["not reached", "2"], {}),
    ],
)
def test_only_what_is_surely_best_is_emphasised(cells: list[str], found: dict[int, str]) -> None:
    assert emphasis(cells) == found


def table(**changes: object) -> AblationTable:
    usual = {
        "title": "mAP less the unmerged model's",
        "heads": ("", "2 ×", "loss", "most", "points"),
        "rows": (
            ("**ToMe**", "−0.01", "2.47", "3.10", "3"),
            ("PiToMe", "−0.02", "≥ 2.17", "2.90", "4"),
            ("Top-K", "−0.03", "1.20", "2.50", "3"),
        ),
        "note": "Most: the largest.",
        "unranked": ("most", "points"),
    }
    return AblationTable(**(usual | changes))  # type: ignore[arg-type]


def caption(text: str) -> str:
    return next(line for line in text.splitlines() if "caption{" in line)


def test_how_far_and_how_many_are_not_how_good() -> None:
    rows = [
        line.rstrip(" \\").split(" & ")
        for line in table().latex("Abacus", "tab:x").splitlines()
        if "-K" in line or "ToMe" in line
    ]
    emphasised = [[bool(re.match(r"\\(textbf|underline)", cell)) for cell in row[1:]] for row in rows]
    assert emphasised == [[True, False, False, False], [True, False, False, False], [False] * 4]


def test_a_caption_says_what_bold_and_underlined_are_and_where_there_is_none() -> None:
    said = caption(table().latex("Abacus, batch size 8", "tab:x", "Facts."))
    assert (
        "Abacus, batch size 8. Most: the largest. Bold: best of its column, underlined: second best, but in no" in said
    )
    assert "but in no column where a $\\ge$ may be better; a name in bold: the reference. Facts.}" in said
    plain = caption(table(heads=("", "a"), rows=(("x", "2.0"), ("y", "1.0"), ("z", "0.5"))).latex("Abacus", "tab:x"))
    assert plain.endswith("Bold: best of its column, underlined: second best.}")
    nothing = caption(table(heads=("", "points"), rows=(("x", "2"), ("y", "1"))).latex("Abacus", "tab:x"))
    assert nothing.endswith("Most: the largest.}")
