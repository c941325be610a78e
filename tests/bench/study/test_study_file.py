"""Study files: what they may say, and the interval of a difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.study.recipes import StudyError, recipe, run_folder, settings
from bench.study.study_file import StudyArm, load_study, study_names
from bench.sweep.complaints import ConfigError

GOOD = """
name = "small"
recipe = "smoke"
seeds = [0]
reference = "ast"
[[arms]]
name = "ast"
label = "AST"
"""
OTHER = '[[arms]]\nname = "other"\nlabel = "other"\nevaluate = ["constant:5"]'
PAIR = '[[contrasts]]\nlabel = "more"'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds = [0]", "seeds = []"), "seeds"),
        (("seeds = [0]", "seeds = 3"), r"study\.toml: seeds: 3 is not a list$"),
        (('reference = "ast"', 'reference = "asd"'), r"study\.toml: reference: unknown arm 'asd'[^{}]*$"),
        (
            ('label = "AST"', 'label = "AST"\nlabell = "x"'),
            r"^\S*: arms\.0\.labell: unknown key; .*'label'\?[^\n]*$",
        ),
        (('name = "ast"', 'name = "../ast"'), "names a folder"),
        (('label = "AST"', 'label = "AST"\nteacher = "ast"'), "must come before it"),
        (('label = "AST"', 'label = "AST"\ncolour = "red"'), "colour"),
        (('label = "AST"', 'label = "AST"\nagainst = "ast"'), "against: .*'ast'"),
        (
            ('label = "AST"', f'label = "AST"\n{OTHER}\nagainst = "ast"'),
            "'constant:5', but 'ast', .* under: constant:0",
        ),
        (
            ('label = "AST"', f'label = "AST"\n{OTHER}\n{PAIR}\narm = "other"\nagainst = "as"'),
            "contrast 'more': against",
        ),
        (('label = "AST"', f'label = "AST"\n{OTHER}\n{PAIR}\narm = "other"\nagainst = "ast"'), "no schedule in common"),
        (('label = "AST"', 'label = "AST"\n[claim]\nagainst = "as"\narms = ["ast"]'), "claim: .*'as'.* ast"),
        (('label = "AST"', 'label = "AST"\n[claim]\nagainst = "ast"\narms = ["at"]'), "claim: .*'at'.* ast"),
        (('label = "AST"', 'label = "AST"\naverage = {ast = 1.0}'), "averages 'ast', which must come before it"),
        (
            ('label = "AST"', f'label = "AST"\nseeds = [1, 2]\n{OTHER}\naverage = {{ast = 1.0}}'),
            "'other' averages 'ast', which has several seeds but not 0",
        ),
        (('label = "AST"', 'label = "AST"\nseeds = [0, 1]\nuntrained = true'), "'ast' is untrained .* seeds = .0."),
        (('label = "AST"', 'label = "AST"\nembedded = "ast_tiny"'), "embedded: .*'ast_tiny'.*ast_tiny_soundscapes"),
        (('label = "AST"', 'label = "AST"\naverage = {ast_tiny_soundscapes = 0.5}'), "shares in average add up to 0.5"),
        (('label = "AST"', 'label = "AST"\nsoup = true'), "'ast' is a soup of nothing"),
        (('label = "AST"', 'label = "AST"\naverage = {ast_tin = 1.0}'), "average: .*'ast_tin'.*ast_tiny_soundscapes"),
        (("seeds = [0]", "seeds = [0, 0]"), r"seeds is \[0, 0\]; give at least one, and each only once"),
        (('label = "AST"', 'label = "AST"\nseeds = []'), r"arm 'ast': seeds is \[\]"),
        (
            ('label = "AST"', f'label = "AST"\n{OTHER}'.replace('label = "other"', 'label = "AST"')),
            "two of group 'main' have the label 'AST'",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(ConfigError, match=message):
        load_study(str(path))


def test_the_nearest_study_is_named() -> None:
    with pytest.raises(ConfigError, match="soundscapes_continue"):
        load_study("soundscapes_continu")


@pytest.mark.parametrize("name", study_names())
def test_every_training_of_a_study_that_comes_with_it_has_a_recipe(name: str) -> None:
    study = load_study(name)
    identities = {}
    for arm, seed in study.trainings():
        identity = recipe(study, arm, seed, Path("build/studies")).identity
        assert identity not in identities, f"{arm.name} asks what {identities[identity]} asks"
        identities[identity] = arm.name


def test_an_embedded_model_stands_for_the_training_that_made_it(tmp_path: Path) -> None:
    study = load_study("soundscapes_averaged")
    longer = study.arm("longer")
    assert [seed for arm, seed in study.trainings() if arm == longer] == [1, 2]
    begins = {seed: settings(study, study.arm("merged"), seed, tmp_path) for seed in (0, 1)}
    assert "model.name=ast_tiny_soundscapes_merged" in begins[0]
    assert f"model.checkpoint={run_folder(tmp_path, study, 'longer', 1) / 'model.safetensors'}" in begins[1]
    pupil = StudyArm(name="pupil", label="pupil", teacher="longer", stored=False)
    assert "distillation.teacher=ast_tiny_soundscapes_merged" in settings(study, pupil, 0, tmp_path)
    shorter = longer.model_copy(update={"set": (*longer.set, "steps=1024")})
    arms = tuple(shorter if arm == longer else arm for arm in study.arms)
    other = study.model_copy(update={"arms": arms})
    with pytest.raises(StudyError, match="'longer' with seed 0 has a recipe other than that of ast_tiny"):
        settings(other, study.arm("merged"), 0, tmp_path)


def test_settings_of_the_study_are_every_arms_and_an_arms_own_go_before(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    own = OTHER + '\nset = ["steps=5"]'
    path.write_text(GOOD.replace('recipe = "smoke"', 'recipe = "smoke"\nset = ["steps=3", "batch_size=4"]') + own)
    study = load_study(str(path))
    found = {arm.name: recipe(study, arm, 0, tmp_path) for arm in study.arms}
    assert {name: (one.steps, one.batch_size) for name, one in found.items()} == {"ast": (3, 4), "other": (5, 4)}
