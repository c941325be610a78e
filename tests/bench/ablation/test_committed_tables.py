"""The committed tables of methods: recomputed from the records in another way, and held against themselves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted(ROOT.glob("reports/ablation_methods*/ablation.md"))
NUMBER = r"[+−]?[0-9.]+"


def tables(page: Path) -> dict[str, pd.DataFrame]:
    """By its title, every table of a page, a row per method."""
    found = {}
    for block in re.split(r"^\*\*", page.read_text(), flags=re.MULTILINE)[1:]:
        title, _, rest = block.partition("**")
        lines = [line for line in rest.splitlines() if line.startswith("|")]
        heads, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]
        found[title] = pd.DataFrame(rows, columns=heads).set_index("")
    return found


def numbers(cell: str) -> list[float]:
    return [float(one.replace("−", "-")) for one in re.findall(NUMBER, cell)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_losses_at_equal_speed_lie_between_the_points_of_the_records(page: Path) -> None:
    (file,) = ROOT.glob(f"results/*/{page.parent.name}/cells.csv")
    cells = pd.read_csv(file)
    cells = cells[cells["status"] != "disturbed"]  # of no standing
    speed = cells[cells["kind"] == "performance"].set_index(["method", "schedule"])["speedup_unmerged"]
    quality = cells[cells["kind"] == "quality"].set_index(["method", "schedule"])["mAP"]
    own = quality["none", "none"]
    (table,) = (one for title, one in tables(page).items() if title.endswith("at equal measured speed-up"))
    checked = 0
    for label, method in (("**ToMe**", "tome"), ("Top-K", "topk"), ("random drop", "random"), ("ToFu", "tofu")):
        points = pd.concat([speed[method], quality[method]], axis=1).dropna().sort_values("speedup_unmerged")
        x, y = [1.0, *points["speedup_unmerged"]], [own, *points["mAP"]]
        for head in (head for head in table.columns if head.endswith(" ×")):
            gain = float(head.removesuffix(" ×"))
            if gain <= x[-1]:
                assert numbers(table.loc[label, head])[0] == pytest.approx(np.interp(gain, x, y) - own, abs=6e-5)
                checked += 1
    assert checked > 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_gains_whose_intervals_lie_apart_are_marked(page: Path) -> None:
    checked = 0
    for title, table in tables(page).items():
        if "at a fixed loss" not in title:
            continue
        for head in (head for head in table.columns if head.startswith("loss")):
            known = table[head][table[head].str.contains("[", regex=False)].map(
                lambda cell: (cell, *numbers(cell)[-2:])
            )
            if "**ToMe**" not in known:  # all of its front loses less
                continue
            _, least, most = known["**ToMe**"]
            for cell, low, high in known.drop("**ToMe**"):
                if high < least or low > most:
                    assert cell.endswith("▼" if high < least else "▲"), f"{title}: {head}: {cell}"
                    checked += 1
    assert checked
