"""Tables of a study: in one order, without repetition, and with captions that say what every number is."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
from report.records import record as invented

from bench.study.frame import CLAIM, CONTRAST
from bench.study.groups import groups
from bench.study.report import map_words
from bench.study.speeds import Speeds, speeds_of, speeds_words
from bench.study.study_file import load_study, study_names
from bench.study.tables import study_latex, study_markdown, study_text
from bench.study.words import TableWords

NOTES = TableWords(
    scores="mAP on 8 clips", speed="Speed-up: so", clips="clips/s: so", training="so", speeds="Speeds are of X."
)
AST = {"arm": "ast", "label": "AST", "group": "main", "against": "", "against_schedule": "", "mAP": 0.4}
AST |= {"schedule": "constant:0", "speedup": 1.0, "mAP_sd": 0.01, "seeds": 3, "clips_per_second": 10.0}
AST |= {"delta": math.nan, "delta_low": math.nan, "delta_high": math.nan, "delta_seeds": 0, "against_seeds": 0}
AST |= {"recordings": False, "train_seconds_per_1000": 50.0, "peak_memory_mib": 900.0}
HELD = {"against": "AST", "against_schedule": "constant:0", "delta": -0.1, "delta_low": -0.25, "delta_high": 0.07}
HELD |= {"delta_seeds": 3, "against_seeds": 3}
TOME = AST | HELD | {"arm": "tome", "label": "ToMe", "mAP": 0.3}
UNTRAINED = {"train_seconds_per_1000": math.nan, "peak_memory_mib": math.nan}


def merged(row: dict, r: int, speedup: float = math.nan) -> dict:
    return row | {"schedule": f"constant:{r}", "speedup": speedup or 1 + r / 10}


def rows_of(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([*rows])


def test_rows_of_an_arm_stand_from_slow_to_fast_whatever_its_study_says() -> None:
    rows = rows_of(
        merged(TOME, 45, 1.8), merged(TOME, 100, 3.7), merged(TOME, 60, 2.3), TOME, merged(AST, 45, 1.8), AST
    )
    ((_, part),) = groups(rows)
    assert list(part["label"]) == ["ToMe"] * 4 + ["AST"] * 2
    assert list(part["schedule"]) == [f"constant:{r}" for r in (0, 45, 60, 100, 0, 45)]
    ((_, part),) = groups(rows.assign(speedup=math.nan))  # by r, where nothing was timed
    assert list(part["schedule"]) == [f"constant:{r}" for r in (0, 45, 60, 100, 0, 45)]


def test_a_claim_that_repeats_another_table_has_none_of_its_own() -> None:
    main = [AST, TOME, merged(TOME, 45, 1.8)]
    same = [row | {"group": CLAIM} for row in main[1:]]
    assert [title for title, _ in groups(rows_of(*main, *same))] == ["Merging and distillation"]
    other = [row | {"group": CLAIM, "against_schedule": "constant:45"} for row in main[1:]]
    assert [title for title, _ in groups(rows_of(*main, *other))] == [
        "Merging and distillation",
        "Faster, and as accurate",
    ]


def test_what_was_not_trained_has_no_memory_of_training() -> None:
    text = study_text(rows_of(AST, TOME | UNTRAINED))
    assert list(text["peak_memory_mib"]) == ["900", "–"]
    assert list(text["training"]) == ["50", "–"]
    assert "peak_memory_mib" not in study_text(rows_of(TOME | UNTRAINED))


def test_plus_minus_is_of_seeds_and_intervals_are_ends() -> None:
    tex = study_latex(rows_of(AST, TOME), "t", NOTES)
    (row,) = (line for line in tex.splitlines() if "ToMe" in line and "&" in line)
    assert row.count("pm") == 1
    assert "\\underline{0.3000} & $_{\\pm 0.0100}$ & $-$0.1000 & $_{-0.2500}^{+0.0700}$" in row


def test_every_caption_says_what_its_columns_marks_and_ends_are() -> None:
    alone = AST | HELD | {"arm": "cnn", "label": "CNN", "group": "teacher", "speedup": math.nan, "mAP_sd": math.nan}
    alone |= UNTRAINED | {"clips_per_second": math.nan, "seeds": 1, "delta_seeds": 1, "against_seeds": 1}
    tex = study_latex(rows_of(AST, TOME, alone), "t", NOTES)
    first, second = (line for line in tex.splitlines() if "caption{" in line)
    assert "mAP on 8 clips, mean $\\pm$ standard deviation over the seeds; differences of these means" in first
    assert (
        "95 \\% interval over seeds and clips, their ends below and above. Speed-up: so; clips/s: so. s/1k (training): "
        "so. Speeds are of X. MiB (memory): the most that" in first
    )
    assert first.endswith("Bold: the best mAP under its schedule, where several rows have it; underlined: the second.}")
    assert "mAP on 8 clips; differences, with their 95 \\% interval over clips of one seed, their ends below" in second
    for absent in ("Speed", "Training", "Memory", "Bold", "pm"):
        assert absent not in second
    said = study_markdown(rows_of(AST, TOME, alone), NOTES).splitlines()[-1]
    assert "Speed-up: so; clips/s: so. Training: so. Speeds are of X. Memory: the most" in said
    assert said.endswith("Bold: the best mAP under its schedule, where several rows have it.")


def test_a_caption_says_nothing_of_columns_that_its_table_leaves_out() -> None:
    other = TOME | {"label": "ToFu", "against": "CNN"}  # two columns of names leave no room for throughput
    (caption,) = (line for line in study_latex(rows_of(TOME, other), "t", NOTES).splitlines() if "caption{" in line)
    assert "Speed-up: so. s/1k" in caption
    assert "clips/s" not in caption


def test_means_are_named_where_no_column_has_their_spread() -> None:
    one = TOME | {"seeds": 1, "delta_seeds": 1, "mAP_sd": math.nan}
    said = study_markdown(rows_of(one), NOTES).splitlines()[-1]
    assert "mAP on 8 clips; differences of means over the seeds, seed by seed" in said


def test_a_row_that_is_named_after_a_part_has_the_score_of_the_model_with_it() -> None:
    parts = [row | {"group": CONTRAST, "label": "A teacher"} for row in (TOME, TOME | {"against": "CNN"})]
    text = study_markdown(rows_of(*parts), NOTES)
    assert "**What each part adds** · mAP: of the model with that part." in text
    assert "| Part | Held against |" in text
    tex = study_latex(rows_of(*parts), "t", NOTES)
    assert "What each part adds. mAP: of the model with that part. mAP on 8 clips" in tex
    assert "Part & Held against &" in tex
    assert "Part" not in study_latex(rows_of(TOME), "t", NOTES)


def test_speeds_name_their_machine_format_and_batch() -> None:
    forward = invented("performance", "constant:20", seconds=0.5, batch_size=8)
    step = invented("performance", "constant:20", seconds=0.5, batch_size=16, scope="training_step", dtype="bfloat16")
    found = speeds_of(("a", "b"), [forward.model_copy(update={"sweep": "a"}), step.model_copy(update={"sweep": "b"})])
    assert speeds_words(*found) == (
        "Speeds are of Abacus, AVX512, 2 threads: a forward in float32, batch size 8; a training step in bfloat16, "
        "batch size 16."
    )
    assert speeds_words(Speeds(), found[1]).endswith("threads: a training step in bfloat16, batch size 16.")
    assert speeds_words(Speeds()) == ""
    assert speeds_words(replace(found[0]), None).endswith("threads: a forward in float32, batch size 8.")


def test_captions_say_which_test_clips_they_are_when_not_the_first() -> None:
    held = pd.DataFrame({"clips": [2000, 2000]})
    said = " of soundscapes (synthetic scenes of real recordings)"
    assert map_words(load_study("soundscapes_taught"), held) == "mAP on 2000 test clips" + said
    assert map_words(load_study("soundscapes_others_taught"), held) == "mAP on test clips 2000 to 3999" + said


@pytest.mark.parametrize("name", study_names())
def test_labels_are_native(name: str) -> None:
    study = load_study(name)
    for label in [one.label for one in (*study.arms, *study.contrasts)]:
        for odd in ("trained on", "Training on", "half of it", "4 of it"):
            assert odd not in label
