"""Average precision by family of sounds, against scikit-learn's of the same scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from sklearn.metrics import average_precision_score

from bench.study.figures.families import FAMILIES, families, family_figure
from bench.study.groups import ranked
from bench.study.recipes import run_folder
from bench.study.statistics.scores import REPLICATES, read_replicates, write_replicates
from bench.study.study_file import Claim, Study, StudyArm
from fastast.data.soundscapes.classes import CHILDREN, CLASSES, LEAVES

SCHEDULES = ("constant:0", "constant:8")


@pytest.fixture
def study() -> Study:
    return Study(
        name="sounds",
        recipe="smoke",
        seeds=(0, 1),
        evaluate=SCHEDULES,
        reference="ast",
        arms=(StudyArm(name="ast", label="AST", seeds=(0,)), StudyArm(name="tome", label="ToMe")),
        claim=Claim(against="ast", arms=("tome",)),
        families=("ast", "tome"),
    )


def publish(root: Path, study: Study) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """Write replicates of random scores; return the scores."""
    random = np.random.default_rng(0)
    labels = (random.random((60, len(CLASSES))) < 0.2).astype(np.uint8)
    written = {}
    for arm in study.arms:
        for seed in study.seeds_of(arm):
            folder = run_folder(root, study, arm.name, seed)
            folder.mkdir(parents=True)
            scores = {f"scores {name}": random.random(labels.shape, np.float32) for name in SCHEDULES}
            written[arm.name, seed] = {"labels": labels, **scores}
            save_file(written[arm.name, seed], folder / "scores.safetensors")
            write_replicates(folder / "scores.safetensors", folder / REPLICATES)
    return written


def precision(kept: dict[str, np.ndarray], schedule: str, classes: tuple[str, ...]) -> float:
    columns = [CLASSES.index(name) for name in classes]
    labels, scores = kept["labels"], kept[f"scores {schedule}"]
    return float(np.mean([average_precision_score(labels[:, j], scores[:, j]) for j in columns]))


def test_a_family_is_the_mean_of_its_classes_over_seeds(study: Study, tmp_path: Path) -> None:
    kept = publish(tmp_path, study)
    rows = families(study, tmp_path).set_index(["arm", "schedule", "family"])
    assert len(rows) == 2 * 2 * len(FAMILIES)
    base = precision(kept["ast", 0], "constant:0", CHILDREN["Speech"])
    seeds = [precision(kept["tome", seed], "constant:8", CHILDREN["Speech"]) for seed in (0, 1)]
    row = rows.loc[("tome", "constant:8", "Speech")]
    assert row["AP"] == pytest.approx(np.mean(seeds), abs=1e-6)
    assert row["delta"] == pytest.approx(np.mean(seeds) - base, abs=1e-6)
    assert (row["delta_low"], row["delta_high"]) == pytest.approx((min(seeds) - base, max(seeds) - base), abs=1e-6)
    assert (row["seeds"], row["classes"]) == (2, 2)
    assert (row["against"], row["against_schedule"]) == ("AST", "constant:0")
    assert rows.loc[("ast", "constant:0", "Drums"), "delta"] == pytest.approx(0, abs=1e-7)
    axes = family_figure(rows.reset_index(), "notes").axes
    assert [axis.get_title(loc="left") for axis in axes] == ["AST", "ToMe"]


def test_every_leaf_is_in_one_family_and_parents_are_in_none() -> None:
    named = [name for names in FAMILIES.values() for name in names]
    assert sorted(named) == sorted(LEAVES)
    assert not set(named) & set(CHILDREN)


def test_what_was_published_before_it_was_kept_has_no_rows(study: Study, tmp_path: Path) -> None:
    publish(tmp_path, study)
    for path in tmp_path.rglob(REPLICATES):
        kept = read_replicates(path.parent)
        old = {name: values.astype(np.float32) for name, values in kept.by_schedule.items()}
        old |= {"labels": np.frombuffer(bytes.fromhex(kept.labels), np.uint8), "clips": np.array([kept.clips])}
        save_file(old, path)
    rows = families(study, tmp_path)
    assert rows.empty
    with pytest.raises(ValueError, match="no arm of `families` is published"):
        family_figure(rows, "notes")


def test_the_best_of_a_schedule_is_told_among_those_that_several_arms_have() -> None:
    rows = pd.DataFrame(
        {
            "schedule": ["constant:0", "constant:60", "constant:0", "constant:60", "constant:100"],
            "mAP": [0.47, 0.46, 0.46, 0.465, 0.44],
        },
        index=[7, 8, 9, 10, 11],  # of a group amid others
    )
    assert sorted(ranked(rows, 0)) == [0, 3]  # nothing stands beside r = 100
    assert sorted(ranked(rows, 1)) == [1, 2]


def test_an_arm_that_is_named_twice_is_not_second_to_itself() -> None:
    rows = pd.DataFrame({"schedule": ["constant:60"] * 4, "mAP": [0.46, 0.465, 0.44, 0.465]})
    assert (ranked(rows, 0), ranked(rows, 1)) == ([1, 3], [])
    assert ranked(rows.iloc[[1, 3]], 0) == []  # nor the best of nothing but itself


def test_what_has_no_schedules_may_be_held_against(study: Study, tmp_path: Path) -> None:
    cnn = StudyArm(name="ast", label="CNN", seeds=(0,), evaluate=())
    assert families(study.model_copy(update={"arms": (cnn, study.arms[1])}), tmp_path).empty
