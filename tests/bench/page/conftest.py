"""Records and sounds that the tests of the page share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import EVIL

from bench.page.listening import listening
from bench.page.points import page_panels
from bench.page.render import page_html
from bench.records.schema import Record

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
import records as made


@pytest.fixture(scope="session")
def records() -> list[Record]:
    """Two machines; on the first one, a disturbed, an implausible and a failed speed beside the others."""
    fast = {"batch_size": 8, "seconds": 0.01}
    return [
        *made.sweep(),
        made.record("performance", "decreasing:20", status="disturbed", message="others were at work", **fast),
        made.record("quality", "decreasing:20", quality=0.499, delta=-0.001),
        *made.sweep(EVIL),
    ]


@pytest.fixture(scope="session")
def panel(records: list[Record]) -> dict[str, Any]:
    """The first machine's points at batch size 8."""
    names = ("device", "batch")
    return next(
        panel for panel in page_panels(records) if [panel["choices"][name][0] for name in names] == ["abacus", "8"]
    )


@pytest.fixture(scope="session")
def sounds() -> dict[str, Any]:
    """The example, merged by two methods with two r."""
    return listening(methods=("tome", "topk"), removed=(20, 40))


@pytest.fixture(scope="session")
def html(records: list[Record], sounds: dict[str, Any]) -> str:
    return page_html(records, sounds)
