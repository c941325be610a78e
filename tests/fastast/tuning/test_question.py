"""What is refused, with what is allowed; which answers are of one question; and a journal that goes on."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastast.hosts import reduce
from fastast.reduction import TokenReduction
from fastast.training.recipe.file import load_recipe
from fastast.tuning.answer import read_answer
from fastast.tuning.clips import TuningClips, check_positives, spread, two_halves
from fastast.tuning.journal import Journal
from fastast.tuning.question import TuningQuestion, differing_key, recipe_part
from fastast.tuning.scoring import Scorer, divergences
from fastast.tuning.target import Target, TuningError
from fastast.tuning.timing import ForwardTimes, time_rounds
from fastast.tuning.tune import Tuner

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


def clips(positives: list[int], count: int = 10) -> TuningClips:
    labels = np.array([[i < some for some in positives] for i in range(count)], dtype=np.uint8)
    names = tuple(str(i) for i in range(count))
    return TuningClips(what="half of val", features=torch.zeros(count, 1, 1), labels=labels, ids=names, skipped=())


def test_too_few_positives_are_refused_by_class() -> None:
    check_positives(clips([5, 6]), ("Music", "Bell"), 5)
    message = r"half of val: 1 of 2 classes have fewer than 5 positive clips among 10: Bell \(2\).*--min-positives 2"
    with pytest.raises(TuningError, match=message):
        check_positives(clips([6, 2]), ("Music", "Bell"), 5)


def test_halves_share_no_clip_and_reach_from_end_to_end() -> None:
    mine, others = two_halves(1000, 100)
    assert len(mine) == len(others) == 50
    assert not set(mine) & set(others)
    assert mine[0] == 0
    assert others[-1] == 999
    assert spread(7, 100) == list(range(7))


def test_divergence_is_that_of_kullback_and_leibler() -> None:
    p, q = np.array([[0.3, -1.0], [40.0, 0.0]]), np.array([[0.1, 2.0], [-40.0, 0.0]])
    a, b = 1 / (1 + np.exp(-p)), 1 / (1 + np.exp(-q))
    by_hand = a[0] * np.log(a[0] / b[0]) + (1 - a[0]) * np.log((1 - a[0]) / (1 - b[0]))
    found = divergences(p, q, "sigmoid")
    assert found[0] == pytest.approx(by_hand.sum())
    assert found[1] == pytest.approx(40.0)  # log(1 / exp(-40)), and no infinity
    e, f = np.exp(p[0]) / np.exp(p[0]).sum(), np.exp(q[0]) / np.exp(q[0]).sum()
    assert divergences(p, q, "softmax")[0] == pytest.approx((e * np.log(e / f)).sum())
    assert divergences(p, p, "sigmoid") == pytest.approx([0.0, 0.0])


def test_sensitivity_is_that_of_clips_from_end_to_end(
    small_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data sets are sorted: here the first clips are silent, and nothing moves their answers."""
    monkeypatch.setattr("fastast.tuning.tune.PROBED", 4)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8, 176, 48, generator=generator) * torch.arange(8.0).gt(3)[:, None, None]
    clips = TuningClips(
        what="half", features=features, labels=np.eye(8, 5, dtype=np.uint8), ids=tuple("abcdefgh"), skipped=()
    )
    question = TuningQuestion(model="m", data="d", target=Target(max_loss=0.1), method=TOME, batch_size=2)
    journal = Journal(tmp_path / "a.journal", {})
    scorer = Scorer(metric="mAP", activation="sigmoid")
    rest = (scorer, range(5), torch.device("cpu"), journal, print)
    tuner = Tuner(question, small_model, clips, clips, *rest)
    tuner._reference = tuner._logits(clips, None)
    found = tuner._sensitivity()
    journal.close()
    picked = features[[0, 2, 5, 7]]  # four of eight, by hand
    r = found.removed[-1]
    with torch.no_grad():
        p = small_model(picked).double().sigmoid()
        with reduce(small_model, TokenReduction(schedule=f"list:{r},0,0")):
            q = small_model(picked).double().sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(1).mean()
    assert float(expected) > 1e-4
    assert found.divergence[0][-1] == pytest.approx(float(expected), rel=1e-3)


def test_a_journal_goes_on_and_measures_nothing_twice(tmp_path: Path) -> None:
    path, question = tmp_path / "a.journal", {"model": "m", "clips": 3}
    journal = Journal(path, question)
    assert journal.get("one", lambda: [1.0, 2.0]) == [1.0, 2.0]
    journal.close()
    with path.open("a") as file:
        file.write('{"key": "two", "val')  # killed while it wrote
    again = Journal(path, question)
    assert again.found == 1
    assert again.get("one", lambda: pytest.fail("measured twice")) == [1.0, 2.0]
    assert again.get("two", lambda: 5) == 5
    again.close()
    third = Journal(path, question)
    assert third.found == 2
    third.close()


def test_a_journal_of_another_question_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "a", {"model": "m"}).close()
    with pytest.raises(TuningError, match="model was 'm' and is now 'other'"):
        Journal(tmp_path / "a", {"model": "other"})
    (tmp_path / "b").write_text("hello\n")
    with pytest.raises(TuningError, match="not a journal of `fastast tune`"):
        Journal(tmp_path / "b", {"model": "m"})


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


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    first = Journal(tmp_path / "a", {})
    with pytest.raises(TuningError, match="another process is writing to this file"):
        Journal(tmp_path / "a", {})
    first.close()


class CountingClock:
    """A clock whose calls take what they say."""

    name = "counting"
    now = staticmethod(float)

    def measure(self, call: Any, iterations: int) -> list[float]:
        return [call() for _ in range(iterations)]


def test_rounds_interleave_and_start_with_another_arm_each() -> None:
    order: list[str] = []

    def arm(name: str, seconds: float) -> Any:
        return lambda: order.append(name) or seconds

    found = time_rounds({"a": arm("a", 2.0), "b": arm("b", 1.0)}, CountingClock(), rounds=3)  # type: ignore[arg-type]
    assert "".join(order[4:]) == "abbaab"
    assert found["a"].tolist() == [2.0] * 3
    times = ForwardTimes(seconds=found, batch_size=8)
    assert times.ratio("a", "b").value == 2.0
    assert times.clips_per_second("a").value == 4.0
