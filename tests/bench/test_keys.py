"""The pages of sweep files, study files and recipes list every key there is, and their examples are such files."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bench.keys import DOCS, PAGES, keys_of, with_keys
from bench.study.study_file import load_study
from bench.sweep.config import SweepConfig
from bench.sweep.expansion import expand
from fastast.schedule import parse_schedule
from fastast.training.recipe.file import FOLDER, load_recipe, parse_recipe, recipe_names


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def example(name: str) -> str:
    return re.findall(r"```toml\n(.*?)```", text_of(name), re.DOTALL)[0]


@pytest.mark.parametrize("name", PAGES)
def test_every_key_is_on_the_page_with_its_default_and_a_sentence(name: str) -> None:
    page = text_of(name)
    assert with_keys(page, name) == page, "run python -m bench.keys"
    for part in PAGES[name].values():
        for key, _, text in keys_of(part):
            assert f"| `{key}` |" in page
            assert text, f"{part.__name__}.{key} has no docstring"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_without_marks_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: the keys must be there once"):
        with_keys("# A page", name)


def test_the_example_of_a_sweep_is_one() -> None:
    cells = expand(SweepConfig.model_validate(tomllib.loads(example("sweeps.md"))))
    timed = [cell for cell in cells if cell.kind == "performance"]
    # Of queries only batch 8: 3 schedules (constant:20, constant:40, keep:0.95) x (2 + 1), and unmerged at both.
    assert len(timed) == 3 * 3 + 2
    assert len(cells) - len(timed) == 3 * 2 + 1


def test_the_example_of_a_study_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(example("study_files.md"))
    study = load_study(str(tmp_path / "mine.toml"))
    assert [(arm.name, seed) for arm, seed in study.trainings()] == [
        (arm, seed) for seed in (0, 1, 2) for arm in ("ast", "tome_kd")
    ]


def test_every_schedule_on_the_page_of_sweeps_can_be_read() -> None:
    page = text_of("sweeps.md")
    table = page[page.index("| schedule |") : page.index("Without its R")]
    forms = re.findall(r"`([a-z]+:[^`]+)`", table)
    assert len(forms) == 10
    for form in forms:
        filled = form.replace("[", "").replace("]", "").replace("R1,R2,...", "1,2,3")
        filled = re.sub(r"INFLECTION|RATIO", "0.5", filled).replace("X", "2")
        parse_schedule(re.sub(r"R", "40", filled))


@pytest.mark.parametrize("name", recipe_names())
def test_every_key_of_a_recipe_that_comes_with_it_is_on_the_page(name: str) -> None:
    load_recipe(name)  # it is a recipe at all
    values = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    known = {heading.strip("[]"): {key for key, *_ in keys_of(part)} for heading, part in PAGES["recipes.md"].items()}
    for heading, part in {"": {k: v for k, v in values.items() if not isinstance(v, dict)}, **values}.items():
        if isinstance(part, dict) and heading not in ("data", "reduction"):  # those of a data set, of a method
            assert set(part) <= known[heading], heading


def test_a_default_on_the_page_is_what_a_recipe_without_the_key_has() -> None:
    given = tomllib.loads(example("recipes.md"))
    recipe = parse_recipe(given, "page")
    parts: dict[str, Any] = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    seen = 0
    for heading in ("", "model", "optimiser", "schedule", "distillation", "run"):
        asked, part = (given.get(heading, {}), parts[heading]) if heading else (given, recipe)
        for name, default, _ in keys_of(PAGES["recipes.md"][f"[{heading}]" if heading else ""]):
            if name not in asked and default not in ("", "required"):
                value = tomllib.loads(f"value = {default.strip('`')}")["value"]
                found = getattr(part, name)
                assert value == (list(found) if isinstance(found, tuple) else found), (heading, name)
                seen += 1
    assert seen > 25
