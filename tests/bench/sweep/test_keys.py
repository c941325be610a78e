"""The page of sweep files lists every key there is, and its example is a sweep."""

from __future__ import annotations

import re
import tomllib

import pytest

from bench.sweep.config import SweepConfig
from bench.sweep.expansion import expand
from bench.sweep.keys import PAGE, TABLES, with_keys
from fastast.schedule import parse_schedule


def test_every_key_is_on_the_page_with_its_default_and_a_sentence() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_keys(page) == page, "run python -m bench.sweep.keys"
    for part in TABLES.values():
        for name, field in part.model_fields.items():
            assert f"| `{name}` |" in page
            assert field.description, f"{part.__name__}.{name} has no docstring"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the keys must stand once"):
        with_keys("# Sweep files")


def test_the_example_is_a_sweep() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    cells = expand(SweepConfig.model_validate(tomllib.loads(text)))
    timed = [cell for cell in cells if cell.kind == "performance"]
    # Of queries only batch 8: 3 schedules (constant:20, constant:40, keep:0.95) x (2 + 1), and unmerged at both.
    assert len(timed) == 3 * 3 + 2
    assert len(cells) - len(timed) == 3 * 2 + 1


def test_every_schedule_on_the_page_can_be_read() -> None:
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index("| schedule |") : page.index("Without its R")]
    forms = re.findall(r"`([a-z]+:[^`]+)`", table)
    assert len(forms) == 10
    for form in forms:
        filled = form.replace("[", "").replace("]", "").replace("R1,R2,...", "1,2,3")
        filled = re.sub(r"INFLECTION|RATIO", "0.5", filled).replace("X", "2")
        parse_schedule(re.sub(r"R", "40", filled))
