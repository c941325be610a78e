"""What a study trains, and in which order: nothing before the weights that it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.study.publish import publish_trainings
from bench.study.recipes import StudyError, recipe, run_folder
from bench.study.study_file import Study, StudyArm, load_study, study_names
from bench.study.trainings import commands, is_published, missing
from fastast.training.recipe.checks import RecipeError

SHORT = ("steps=3", "reduction=")


def small(*arms: StudyArm, seeds: tuple[int, ...] = (0, 1)) -> Study:
    return Study(name="small", recipe="smoke", seeds=seeds, reference=arms[0].name, arms=arms)


def pretend(study: Study, arm: str, seed: int, root: Path, *, out: Path) -> None:
    """Write what a published training leaves of itself that is looked at here."""
    folder = run_folder(root, study, arm, seed)
    folder.mkdir(parents=True)
    asked = recipe(study, study.arm(arm), seed, out)
    (folder / "recipe.json").write_text(json.dumps({"identity": asked.identity, "question": asked.question()}))
    (folder / "result.json").write_text(json.dumps({"test": {"constant:0": {}}}))


def order(study: Study, left: list[tuple[StudyArm, int]]) -> list[tuple[str, int]]:
    """Return a plan by name, and hold every entry against what it needs."""
    names = [(arm.name, seed) for arm, seed in left]
    for place, (arm, seed) in enumerate(left):
        needed = [(name, study.seeds_of(study.arm(name))[0]) for name in arm.teachers if name in study.names]
        needed += [(name, one) for name, one, _ in study.parts(arm, seed) if one is not None]
        for one in needed:
            assert one not in names[place:], f"{arm.name}, seed {seed}, needs {one}, which is trained later"
    return names


@pytest.mark.parametrize("name", study_names())
def test_a_study_that_comes_with_it_trains_what_is_needed_first(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    found = order(study, missing(study, (), tmp_path, tmp_path / "nothing"))
    assert sorted(found) == sorted((arm.name, seed) for arm, seed in study.trainings())


def test_a_soup_waits_for_all_seeds_of_its_arms(tmp_path: Path) -> None:
    ast = StudyArm(name="ast", label="AST", set=SHORT)
    soup = StudyArm(name="soup", label="soup", set=SHORT, soup=True, average={"ast": 1.0}, seeds=(0,))
    study = small(ast, soup)
    assert order(study, missing(study, (), tmp_path, tmp_path)) == [("ast", 0), ("ast", 1), ("soup", 0)]


def test_what_is_asked_for_waits_for_its_teacher_in_whatever_order(tmp_path: Path) -> None:
    study = small(
        StudyArm(name="cnn", label="CNN", set=SHORT),
        StudyArm(name="pupil", label="pupil", set=SHORT, teacher="cnn"),
        seeds=(0,),
    )
    assert order(study, missing(study, ("pupil", "cnn"), tmp_path, tmp_path)) == [("cnn", 0), ("pupil", 0)]


def test_weights_that_are_gone_are_made_from_the_first_teacher_on(tmp_path: Path) -> None:
    study = small(
        StudyArm(name="first", label="1", set=SHORT),
        StudyArm(name="second", label="2", set=SHORT, teacher="first"),
        StudyArm(name="third", label="3", set=SHORT, teacher="second"),
        seeds=(0,),
    )
    out, published = tmp_path / "runs", tmp_path / "published"
    for arm in ("first", "second"):
        pretend(study, arm, 0, published, out=out)
    assert order(study, missing(study, (), out, published)) == [("first", 0), ("second", 0), ("third", 0)]


def test_answers_are_stored_for_the_longest_training_that_learns_from_them(tmp_path: Path) -> None:
    teacher = "ast_tiny_soundscapes"
    study = small(
        StudyArm(name="short", label="short", set=SHORT, teacher=teacher),
        StudyArm(name="long", label="long", set=("steps=9", "reduction="), teacher=teacher),
        StudyArm(name="beside", label="beside", set=("steps=50", "reduction="), teacher=teacher, stored=False),
    )
    asking, _ = commands(study, study.arm("short"), 0, tmp_path)
    assert asking[3] == "record"
    assert [text for text in asking if text.startswith("steps=")][-1] == "steps=9"


def test_what_an_arm_says_wrong_is_said_before_anything_runs(tmp_path: Path) -> None:
    good = StudyArm(name="good", label="good", set=SHORT)
    study = small(good, StudyArm(name="bad", label="bad", set=("optimiser.rate=1",)))
    with pytest.raises(RecipeError, match=r"optimiser\.rate.*optimiser\.lr|optimiser\.rate"):
        missing(study, ("good",), tmp_path, tmp_path)
    study = small(good, StudyArm(name="bad", label="bad", set=SHORT, evaluate=("nonsense:3",)))
    with pytest.raises(RecipeError, match="nonsense"):
        missing(study, (), tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"teacher": "ast_tiny_soundscape"}, "teacher: no such file, .* Did you mean 'ast_tiny_soundscapes'"),
        ({"teacher": ("good", "goods")}, "teacher: no such file, .* Did you mean 'good'"),
        ({"set": (*SHORT, "model.checkpoint=nowhere.safetensors")}, "model.checkpoint: no such file, .*nowhere"),
        ({"set": (*SHORT, "distillation.teacher=nobody")}, "distillation.teacher: no such file, .*nobody"),
    ],
)
def test_weights_that_are_not_there_are_said_before_anything_runs(asked: dict, message: str, tmp_path: Path) -> None:
    """A training in its own process would say so when its turn comes, after those before it."""
    good = StudyArm(name="good", label="good", set=SHORT)
    study = small(good, StudyArm(**({"name": "bad", "label": "bad", "set": SHORT} | asked)))
    assert missing(study, ("good",), tmp_path, tmp_path)
    with pytest.raises(StudyError, match=f"^arm 'bad': {message}"):
        missing(study, (), tmp_path, tmp_path)


def test_what_is_published_is_published_wherever_the_weights_it_needed_lay(tmp_path: Path) -> None:
    study = small(
        StudyArm(name="cnn", label="CNN", set=SHORT),
        StudyArm(name="pupil", label="pupil", set=SHORT, teacher="cnn"),
        seeds=(0,),
    )
    pretend(study, "pupil", 0, tmp_path / "published", out=tmp_path / "elsewhere")
    assert is_published(study, study.arm("pupil"), 0, tmp_path / "published")


def test_replicates_that_are_missing_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = small(StudyArm(name="ast", label="AST", set=SHORT), seeds=(0,))
    out, published = tmp_path / "runs", tmp_path / "published"
    for root in (out, published):
        pretend(study, "ast", 0, root, out=out)
    (run_folder(out, study, "ast", 0) / "log.jsonl").write_text("")
    made: list[Path] = []
    monkeypatch.setattr("bench.study.publish.write_replicates", lambda scores, target, shares: made.append(target))
    assert publish_trainings(study, out, published, say=lambda _: None) == 1
    assert [path.name for path in made] == ["replicates.safetensors"]
