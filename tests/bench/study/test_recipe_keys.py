"""The page of recipe files lists every key there is, and its example is a recipe."""

from __future__ import annotations

import dataclasses
import re
import tomllib

import pytest

from bench.study.recipe_keys import PAGE, PARTS, keys_of, with_keys
from fastast.training.recipe_file import load_recipe, parse_recipe, recipe_names


def test_every_key_is_on_the_page_with_a_sentence() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_keys(page) == page, "run python -m bench.study.recipe_keys"
    for part in PARTS.values():
        for name, _, text in keys_of(part):
            assert f"| `{name}` |" in page
            assert text, f"{part.__name__}.{name} has no docstring"


@pytest.mark.parametrize("name", recipe_names())
def test_every_key_of_a_shipped_recipe_is_on_the_page(name: str) -> None:
    load_recipe(name)  # it is a recipe at all
    values = tomllib.loads((PAGE.parents[1] / f"fastast/training/recipes/{name}.toml").read_text(encoding="utf-8"))
    known = {heading.strip("[]"): {key for key, *_ in keys_of(part)} for heading, part in PARTS.items()}
    for heading, part in {"": {k: v for k, v in values.items() if not isinstance(v, dict)}, **values}.items():
        if isinstance(part, dict) and heading not in ("data", "reduction"):  # those of a data set, of a method
            assert set(part) <= known[heading], heading


def test_a_default_on_the_page_is_what_a_recipe_without_the_key_has() -> None:
    example = tomllib.loads(re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0])
    recipe = parse_recipe(example, "page")
    parts = {"": recipe, **{field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}}
    for heading in ("", "model", "optimiser", "schedule", "distillation", "run"):
        asked = example if not heading else example.get(heading, {})
        for name, default, _ in keys_of(PARTS[f"[{heading}]" if heading else ""]):
            if name not in asked and default not in ("", "required"):
                (value,) = tomllib.loads(f"value = {default.strip('`')}").values()
                found = getattr(parts[heading], name)
                assert value == (list(found) if isinstance(found, tuple) else found), (heading, name)


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the keys must stand once"):
        with_keys("# Recipe files")
