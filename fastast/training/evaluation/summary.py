"""Summarise runs of one recipe, over the folds of a cross-validation, seeds, or both, by mean and spread."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fastast.training.evaluation.tested import check_tested
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.recipe import first_difference
from fastast.training.run_folder.folder import RECIPE, RESULT, read_run_file
from fastast.training.run_folder.logging import read_log

METRICS = ("mAP", "AUC", "accuracy")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and spread of one metric over the runs."""

    mean: float
    sd: float
    """Standard deviation over runs, with n - 1."""
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Best:
    """Best mean validation score over the runs, and its step: what AST's ESC-50 script reports for five folds."""

    step: int
    score: float
    """Mean over the runs of the recipe's metric, under the first schedule evaluated."""
    last_score: float
    """The same mean at the last step that all runs validated."""


@dataclass(frozen=True, kw_only=True)
class RunsSummary:
    """Summary of several runs of one recipe."""

    runs: tuple[dict[str, int], ...]
    """Seed of each run, and its fold if the data has folds."""
    clips: tuple[int, ...]
    """Number of clips that each run was tested on."""
    ids_sha256: tuple[str | None, ...]
    """Hash of the ids of those clips, the same for all runs of a fold; None for older results without it."""
    metric: str
    """Metric by which the recipe chooses the best weights."""
    test: dict[str, dict[str, Spread]]
    """Test scores of the weights at the end of training, by schedule (`unmerged` if there was none) and metric."""
    best: Best


def summarise_runs(folders: Sequence[Path]) -> RunsSummary:
    """Return mean and spread of the test scores of finished runs that differ only in seed and fold.

    Raises RecipeError for fewer than two runs, unfinished runs, two runs with the same seed and fold, and runs that
    differ in their recipe, or in the schedules, activation or clips that they were tested with; ResumeError for a
    damaged file of a run.
    """
    if len(folders) < 2:
        raise RecipeError(f"a summary takes two runs or more, not {len(folders)}; give their folders")
    results, recipes = [], []
    for folder in folders:
        if not (folder / RESULT).is_file():
            raise RecipeError(f"{folder}: no finished run here (no {RESULT}); finish it with --resume")
        advice = "fetch it again, or leave this run out"
        results.append(read_run_file(folder / RESULT, "test", "test_clips", advice=advice))
        recipes.append(_whole_question(read_run_file(folder / RECIPE, "question", advice=advice), folder / RECIPE))
    runs = [_apart(recipe) for recipe in recipes]
    _check_alike(folders, runs, results)
    check_tested(folders, [apart.get("fold") for apart, _ in runs], results)
    return RunsSummary(
        runs=tuple(apart for apart, _ in runs),
        clips=tuple(result["test_clips"] for result in results),
        ids_sha256=tuple(result.get("test_ids_sha256") for result in results),
        metric=recipes[0]["metric"],
        test={
            schedule: {name: _spread([result["test"][schedule][name] for result in results]) for name in METRICS}
            for schedule in results[0]["test"]
        },
        best=_best(folders, recipes[0]["metric"]),
    )


def _whole_question(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a run's recipe. Raises RecipeError if its file lacks what a summary needs."""
    question = content["question"]
    data = question.get("data") if isinstance(question, dict) else None
    if not isinstance(data, dict) or "options" not in data or not {"seed", "metric", "distillation"} <= question.keys():
        raise RecipeError(f"{path}: damaged: its question lacks data, seed, metric or distillation; fetch it again")
    return question


def _apart(recipe: dict[str, Any]) -> tuple[dict[str, int], dict[str, Any]]:
    """Split a recipe's question into the values that distinguish runs, and those that must be equal.

    Every fold or seed may have its own teacher, and its own stored answers.
    """
    rest = copy.deepcopy(recipe)
    apart = {"seed": rest.pop("seed")}
    for key in ("teacher", "targets") if rest["distillation"] else ():
        del rest["distillation"][key]
    if "fold" in rest["data"]["options"]:
        apart["fold"] = rest["data"]["options"].pop("fold")
    return apart, rest


def _check_alike(
    folders: Sequence[Path], runs: Sequence[tuple[dict[str, int], dict[str, Any]]], results: Sequence[dict[str, Any]]
) -> None:
    first: dict[str, Path] = {}
    for folder, (apart, rest), result in zip(folders, runs, results, strict=True):
        if difference := first_difference(rest, runs[0][1]):
            raise RecipeError(
                f"{folder}: another recipe than {folders[0]}: {difference}; runs may differ in seed and fold only"
            )
        if (words := _words(apart)) in first:
            raise RecipeError(f"{folder}: {words}, the same as {first[words]}; every run counts once")
        first[words] = folder
        if list(result["test"]) != list(results[0]["test"]):
            raise RecipeError(
                f"{folder}: tested under {', '.join(result['test'])}; {folders[0]} under "
                f"{', '.join(results[0]['test'])}. Use fastast evaluate"
            )
        scored = [one.get("activation", "sigmoid") for one in (result, results[0])]  # older results do not state it
        if scored[0] != scored[1]:
            raise RecipeError(f"{folder}: scored by {scored[0]}; {folders[0]} by {scored[1]}. Use fastast evaluate")


def _spread(scores: Sequence[float | None]) -> Spread:
    values = [math.nan if score is None else score for score in scores]  # JSON has no NaN
    if any(map(math.isnan, values)):  # Python 3.11 computes no deviation of NaN
        return Spread(mean=math.nan, sd=math.nan, low=math.nan, high=math.nan)
    return Spread(mean=fmean(values), sd=stdev(values), low=min(values), high=max(values))


def _best(folders: Sequence[Path], metric: str) -> Best:
    curves = []
    for folder in folders:
        curve: dict[int, float] = {}
        first = ""
        for event in read_log(folder):
            kind = str(event["event"])
            if kind.split(" ")[0] == "val" and kind == (first := first or kind):
                if metric not in event:
                    raise RecipeError(f"{folder / 'log.jsonl'}: the {kind} of step {event['step']} lacks {metric}")
                curve[event["step"]] = event[metric]
        curves.append(curve)
    steps = sorted(set.intersection(*map(set, curves)))
    if not steps:
        raise RecipeError(
            f"{folders[0]}: its log has no validation at a step that all runs validated; was log.jsonl truncated?"
        )
    means = {step: fmean(curve[step] for curve in curves) for step in steps}
    best = max(steps, key=lambda step: (means[step], -step))
    return Best(step=best, score=means[best], last_score=means[steps[-1]])


def _words(apart: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in apart.items())


def _clips_words(summary: RunsSummary) -> str:
    """Return the number of clips that the runs were tested on, and the hash of their ids if all have the same."""
    fewest, most = min(summary.clips), max(summary.clips)
    count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    same = set(summary.ids_sha256)
    ids = f" (ids {next(iter(same))[:12]})" if len(same) == 1 and None not in same else ""  # type: ignore[index]
    return f"{count} clips{ids}"


def runs_table(summary: RunsSummary) -> str:
    """Return a summary as text."""
    lines = [
        f"{len(summary.runs)} runs: " + "; ".join(map(_words, summary.runs)),
        f"test sets of {_clips_words(summary)}, weights at the end of training, mean ± standard deviation over runs:",
    ]
    width = max(len(name) for name in ("schedule", *summary.test))
    lines.append(f"{'schedule':{width}}" + "".join(f"  {name:>15}" for name in METRICS))
    for schedule, found in summary.test.items():
        cells = (f"{found[name].mean:.4f} ± {found[name].sd:.4f}" for name in METRICS)
        lines.append(f"{schedule:{width}}" + "".join(f"  {cell}" for cell in cells))
    best = summary.best
    lines.append(
        f"mean {summary.metric} on the validation sets: {best.score:.4f} at its best, after step {best.step}; "
        f"{best.last_score:.4f} at the end"
    )
    return "\n".join(lines)
