"""What is refused, with what is allowed; and which answers are of one question."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from fastast.reduction import TokenReduction
from fastast.training.recipe.file import load_recipe
from fastast.tuning.answer import read_answer
from fastast.tuning.measuring.journal import Journal
from fastast.tuning.question import TuningQuestion, differing_key, recipe_part
from fastast.tuning.target import Target, TuningError

TOME = TokenReduction(schedule="constant:0")
TUNED = Path(__file__).parents[3] / "results" / "tuning"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "one target of --speedup, --clips-per-second, --max-loss; none is given"),
        ({"speedup": 2.0, "max_loss": 0.1}, "--speedup 2, --max-loss 0.1"),
        ({"speedup": 1.0}, "--speedup is 1.0; it must be more than 1"),
        ({"speedup": float("nan")}, "--speedup is nan"),
        ({"clips_per_second": 0.0}, "--clips-per-second is 0.0; it must be more than 0"),
        ({"max_loss": 1.0}, "above 0 and below 1"),
    ],
)
def test_a_target_is_one_and_makes_sense(values: dict[str, float], words: str) -> None:
    with pytest.raises(TuningError, match=words):
        Target(**values)


def test_a_target_of_speed_is_a_time() -> None:
    assert Target(speedup=2.0).seconds(0.3, 8) == pytest.approx(0.15)
    assert Target(clips_per_second=40.0).seconds(0.3, 8) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"clips": 10}, "--clips is 10; it must be a whole number of at least 40"),
        ({"rounds": 3}, "--rounds is 3"),
        ({"held_out": "val"}, "whose clips are used for calibration"),
    ],
)
def test_a_question_is_refused_with_what_is_allowed(values: dict[str, Any], words: str) -> None:
    with pytest.raises(TuningError, match=words):
        TuningQuestion(
            model="m", data="d", target=Target(speedup=2.0), method=TokenReduction(schedule="constant:0"), **values
        )  # type: ignore[arg-type]


NOW = {"model": "m", "weights_sha256": "a", "recipe_identity": "b", "labels": "", "activation": "", "clips": 40}


@pytest.mark.parametrize(
    ("before", "now", "key"),
    [
        (NOW, {}, ""),
        ({"model": "m", "clips": 40}, {}, ""),
        ({"model": "m", "clips": 40, "weights_sha256": "a"}, {}, ""),
        ({"model": "m", "clips": 40}, {"labels": "data"}, "labels"),
        ({"model": "m", "clips": 40}, {"activation": "softmax"}, "activation"),
        ({"model": "m", "clips": 50}, {}, "clips"),
        ({"model": "m"}, {}, "clips"),
        (NOW | {"rounds": 5}, {}, "rounds"),
        (NOW | {"labels": "data"}, {}, "labels"),
        (NOW, {"recipe_identity": "c"}, "recipe_identity"),
        (NOW, {"weights_sha256": "c"}, "weights_sha256"),
    ],
)
def test_what_files_of_before_do_not_say_is_as_it_was_then(
    before: dict[str, Any], now: dict[str, Any], key: str, tmp_path: Path
) -> None:
    assert differing_key(before, NOW | now) == key
    Journal(tmp_path / "a.journal", before).close()
    if key:
        with pytest.raises(TuningError, match=f"are for another question: {key} was"):
            Journal(tmp_path / "a.journal", NOW | now)
    else:
        Journal(tmp_path / "a.journal", NOW | now).close()


def test_of_a_recipe_its_data_and_how_they_are_heard_are_the_question() -> None:
    def part(*settings: str) -> str:
        return recipe_part(load_recipe("smoke", settings))

    mine = part()
    for setting in ("optimiser.lr=0.5", "steps=7", "seed=9", "run.workers=1", "augmentation.mixup_rate=0.25"):
        assert part(setting) == mine, setting
    for setting in ("data.val_clips=40", "normalisation.mean=-1.0", "model.options.num_frames=96", "metric=accuracy"):
        assert part(setting) != mine, setting


@pytest.mark.parametrize("path", sorted(TUNED.glob("*.toml")), ids=lambda path: path.stem)
def test_what_is_published_is_the_answer_to_its_own_question(path: Path) -> None:
    values = tomllib.loads(path.read_text())
    said = values["tuning"]
    names = {field.name for field in fields(TuningQuestion)} - {"target", "method", "settings"}
    given = {name: value for name, value in said.items() if name in names}
    reduction = TokenReduction.from_dict(said["method"] | {"schedule": "constant:0"})
    target, settings = Target(**said["target"]), tuple(said["settings"])
    question = TuningQuestion(**given, target=target, method=reduction, settings=settings)
    asked_now = replace(question, recipe_identity=recipe_part(load_recipe(question.data, settings)))
    for same in (question, asked_now):
        assert read_answer(path, same, said["device"]) == values
    for other, device in ((question, "Elbrus-8S"), (replace(question, clips=1_999), said["device"])):
        with pytest.raises(TuningError, match="this is the answer to another question"):
            read_answer(path, other, device)
