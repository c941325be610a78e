"""Next steps for a data set that `fastast data check` has checked: commands, and the section for a sweep's file."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import warnings
from collections.abc import Sequence

from fastast.data.checking.check import CheckedSet
from fastast.data.datasets import DataOptions
from fastast.data.layouts.recognise import set_values, setting_lines, without_refusals
from fastast.data.training_set import DataError
from fastast.frontend.filterbank import SHIFT_SECONDS
from fastast.training.recipe.file import load_recipe

_RECIPES = {"audioset": "audioset_balanced", "esc50": "esc50", "fsd50k": "fsd50k", "speech_commands": "speech_commands"}
"""Data set -> its recipe, for those that have one."""
_LIKE = {"multi_label": "fsd50k", "single_label": "speech_commands"}
"""Task -> recipe of a data set that is scored the same way, for all other sets."""
_SHARES = (0.1, 0.2, 0.3)
"""Shares to hold out for a missing split; the smallest one that leaves no split empty is suggested."""
_FRAMES_STEP = 128
"""A longer input is a multiple of this many frames, as AST's own are."""
_OWN = {"audioset_balanced": "subset", "audioset_full": "subset", "esc50": "fold"}
"""Recipe -> an option it sets that other data sets do not have."""
_RECIPE_OF = {"audioset_full": "audioset", **{recipe: name for name, recipe in _RECIPES.items()}}
"""Recipe -> its data set."""


def next_steps(found: CheckedSet) -> str:
    """Return the suggested commands and the section for a sweep's file as text."""
    lines = suggestions(found)
    if part := sweep_part(found):
        lines += [
            "throughput and accuracy over merge ratios: python -m bench run FILE, where FILE is a sweep with",
            part,
        ]
    return "\n".join(lines)


def sweep_part(found: CheckedSet) -> str:
    """Return the section of a sweep's file that names the set; empty where it has no split to measure on."""
    splits = [name for name in ("test", "val", "train") if name in found.splits and not found.splits[name].error]
    if not splits:
        return ""
    lines = ["[data]", f'dataset = "{found.name}"']
    if splits[0] != "test":
        lines.append(f'split = "{splits[0]}"')
    for name, value in set_values(found.options).items():
        lines.append(f"{name} = {json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)}")
    if _lacks_clips(found):
        lines.append('missing = "leave out"')
    return "\n".join(lines)


def _lacks_clips(found: CheckedSet) -> bool:
    """Return whether clips are missing that the data set can leave out."""
    missing = any(split.faults.get("missing") for split in found.splits.values())
    return missing and hasattr(found.options, "missing")


def suggestions(found: CheckedSet) -> list[str]:
    """Return commands that measure a model on the set and train one."""
    if not found.task:
        return []
    holds = getattr(found.options, "holds", {})
    made_of = holds.get("data_set", found.name)  # a cache takes the recipe of the set it was made from
    recipe = _RECIPES.get(made_of, _LIKE[found.task])
    if getattr(found.options, "subset", "") == "full":
        recipe = "audioset_full"
    settings = _settings(found, recipe, found.options)
    opened = {name for name, split in found.splits.items() if not split.error}
    measured = next((name for name in ("test", "val", "train") if name in opened), "")
    measure = f"measure a model:  fastast evaluate MODEL {recipe} {settings}"
    measure += "" if measured == "test" else f" --split {measured}"
    needed = [name for name in ("val", "test") if name in found.splits and name not in opened]
    if "train" not in opened or not all(hasattr(found.options, f"{name}_share") for name in needed):
        return [measure]
    options = _with_shares(found.options, needed)  # training needs all three splits
    if options is None:
        return [measure, f"train a model:    not yet, as there are no clips for {' and '.join(needed)}"]
    train = f"train a model:    fastast train {recipe} {_settings(found, recipe, options)}"
    heard = load_recipe(recipe).model.options["num_frames"] * SHIFT_SECONDS
    if found.median_seconds <= heard:
        return [measure, train]
    frames = _FRAMES_STEP * math.ceil(found.median_seconds / SHIFT_SECONDS / _FRAMES_STEP)
    return [
        measure,
        f"{train} --set model.options.num_frames={frames}",
        f"by default {recipe} hears {heard:.2f} s of a clip, but half of the clips last {found.median_seconds:.2f} s "
        "or more; the last setting lets it hear the rest, at a cost in time and memory",
    ]


def _settings(found: CheckedSet, recipe: str, options: DataOptions) -> str:
    """Return the `--set` options that replace a recipe's own data set by this one."""
    settings = setting_lines(found.name, options)
    if found.name == _RECIPE_OF.get(recipe):
        settings = settings[1:]
    elif recipe in _OWN:
        settings.insert(0, f"data.{_OWN[recipe]}=")
    if _lacks_clips(found):
        settings.append("data.missing=leave out")
    if getattr(options, "holds", {}).get("kind") == "fbank":
        settings.append("augmentation.mixup_rate=0")  # mixup needs samples
    return " ".join(f"--set {shlex.quote(setting)}" for setting in settings)


def _with_shares(options: DataOptions, needed: Sequence[str]) -> DataOptions | None:
    """Return options with the smallest held-out shares that leave no split empty; None if all leave one empty."""
    if not needed:
        return options
    for share in _SHARES:
        shares = {f"{name}_share": max(share, getattr(options, f"{name}_share")) for name in needed}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = dataclasses.replace(options, **shares)  # type: ignore[type-var]
                for name in ("train", *needed):
                    without_refusals(found).split(name)
            except (DataError, OSError):
                continue
        return found
    return None
