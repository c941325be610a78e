"""What `fastast data check` prints."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastast.data.audio import RESAMPLER
from fastast.data.checking.check import FAULTS, NOTES, CheckedSet, CheckedSplit
from fastast.data.datasets import DataOptions
from fastast.data.layouts.recognise import set_values, setting_lines, without_refusals
from fastast.data.layouts.table_columns import MARKS
from fastast.data.training_set import DataError
from fastast.frontend.filterbank import SHIFT_SECONDS
from fastast.names import counted

_SHOWN = 5
"""Clips of one kind of fault that are named, unless all are asked for."""
_RECIPES = {"audioset": "audioset_balanced", "esc50": "esc50", "fsd50k": "fsd50k", "speech_commands": "speech_commands"}
"""Recipes of data sets that have one."""
_PROBLEMS = "problems found: what is named above drops clips or biases results"
_LIKE = {"multi_label": "fsd50k", "single_label": "speech_commands"}
"""For other sets, the recipe of one that is scored alike."""
_SHARES = (0.1, 0.2, 0.3)
"""Shares to set apart, of which the least is suggested that draws a clip."""
_FRAMES_STEP = 128
"""Frames of a longer input are a multiple of it, as AST's own are."""
FRAMES = {"audioset_balanced": 1024, "audioset_full": 1024, "esc50": 512, "fsd50k": 1024, "speech_commands": 128}
"""Frames that the models of these recipes hear of a clip."""
_OWN = {"audioset_balanced": "subset", "audioset_full": "subset", "esc50": "fold"}
"""Settings in recipes that no other data set has."""
_RECIPE_OF = {"audioset_full": "audioset", **{recipe: name for name, recipe in _RECIPES.items()}}


def as_dict(found: CheckedSet) -> dict[str, Any]:
    """Return everything as plain values."""
    values: dict[str, Any] = {
        "data_set": found.name,
        "options": dataclasses.asdict(found.options),  # type: ignore[call-overload]
        "task": found.task,
        "classes": list(found.classes),
        "sound": found.is_sound,
        "val_is_test": found.same_as_test,
        "splits": {name: dataclasses.asdict(split) for name, split in found.splits.items()},
        "in_two_splits": found.in_two_splits,
        "same_audio": found.twice,
        "other_labels": found.other_labels,
        "splits_in_train": found.splits_in_train,
        "untrained": found.untrained,
        "median_seconds": found.median_seconds,
        "suggestions": suggestions(found),
        "sweep": sweep_part(found),
    }
    return values


def as_text(found: CheckedSet, *, everything: bool = False) -> str:
    """Return what a person reads; `everything`: every clip that something is the matter with, and every class."""
    lines = [f"{found.name}: {len(found.classes)} classes, {found.task.replace('_', '-')}"]
    said = {warning for split in found.splits.values() for warning in split.warnings}
    lines += sorted(said)
    lines += _whole_names(found)
    for name, split in found.splits.items():
        lines += ["", *_split_lines(name, split, everything=everything)]
    if found.same_as_test:
        lines += ["", "val is the same clips as test"]
    for pair, ids in found.in_two_splits.items():
        lines += ["", f"in {pair} alike: {counted(len(ids), 'clip')}", *_some(ids, everything)]
    if len(found.twice) > len(found.other_labels):
        lines += ["", f"the same audio in two splits: {counted(len(found.twice), 'clip')}"]
        lines += _some([f"{one} = {other}" for one, other in found.twice], everything)
    if found.other_labels:
        lines += ["", f"the same audio in two splits with other labels: {counted(len(found.other_labels), 'clip')}"]
        lines += _some([f"{one} = {other}" for one, other in found.other_labels], everything)
    for name in found.splits_in_train:
        lines += ["", f"all audio of {name} is in train too: what is measured on it says nothing of new clips"]
    if found.untrained:
        lines += ["", _classes_without("a clip to train on", found.untrained)]
    if found.lone_class:
        lines += [
            "",
            f"{found.lone_class!r} is the only class, so that there is nothing to tell apart: name the folder that "
            f"holds the folders of the classes, or the table that says them (--name table -s table={_table(found)})",
        ]
    lines += ["", "sound" if found.is_sound else _PROBLEMS]
    lines += ["", *suggestions(found)]
    if part := sweep_part(found):
        lines += [
            "throughput and accuracy over merge ratios: python -m bench run FILE, a sweep in whose file stands",
            part,
        ]
    return "\n".join(lines)


def _whole_names(found: CheckedSet) -> list[str]:
    """Say of a table whose clips have one label each where that label may be several."""
    name = next((name for name in found.classes for mark in MARKS if mark in name), None)
    if name is None or getattr(found.options, "several", None) != "":
        return []
    mark = next(mark for mark in MARKS if mark in name)
    return [f"{name!r} is taken for the name of one class; if it is several: -s several={mark}"]


def _split_lines(name: str, split: CheckedSplit, *, everything: bool) -> list[str]:
    if split.error:
        return [f"{name}: {'not there: ' if split.absent else ''}{split.error}"]
    usable = split.clips - sum(len(split.faults.get(kind, ())) for kind in FAULTS if kind != "missing")
    lines = [
        f"{name}: {split.clips:,} clips, {_duration(split.seconds)}; {usable:,} can be used",
        f"  ids      sha256 {split.ids_sha256}",
        f"  rates    {_counts(split.rates, ' Hz')}; resampled to 16,000 Hz by {RESAMPLER}",
        f"  channels {_counts(split.channels)}",
        f"  codecs   {_counts(split.codecs)}",
        f"  labels   {_label_line(split.labels)}",
    ]
    for kind in FAULTS:
        if clips := split.faults.get(kind):
            lines += [f"  {kind}: {len(clips):,}", *_some(clips, everything)]
    for note in NOTES:
        if clips := split.notes.get(note):
            lines += [f"  {note} (can be used): {len(clips):,}", *_some(clips, everything)]
    if everything:
        lines += [f"    {count:8,}  {label}" for label, count in split.labels.items()]
    return lines


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:,.2f} h" if seconds >= 3600 else f"{seconds:.1f} s"


def _counts(counts: Mapping[Any, int], unit: str = "") -> str:
    """Return what there is, most frequent first."""
    shown = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    return ", ".join(f"{what:,}{unit} × {n:,}" if isinstance(what, int) else f"{what} × {n:,}" for what, n in shown)


def _label_line(labels: Mapping[str, int]) -> str:
    present = {label: count for label, count in labels.items() if count}
    absent = [label for label in labels if label not in present]
    if not present:
        return "none"
    least, most = min(present, key=lambda n: present[n]), max(present, key=lambda n: present[n])
    text = f"{sum(labels.values()):,} in all; "
    if present[least] == present[most]:
        text += f"{present[least]:,} of each class"
    else:
        text += f"from {present[least]:,} ({least}) to {present[most]:,} ({most}) of a class"
    if absent:
        text += f"; {_classes_without('a clip', absent)}"
    return text


def _classes_without(what: str, classes: list[str]) -> str:
    """Return how many classes lack something, and the first of them."""
    more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    count = "1 class" if len(classes) == 1 else f"{len(classes):,} classes"
    return f"{count} without {what}: {', '.join(classes[:_SHOWN])}{more}"


def _table(found: CheckedSet) -> str:
    """Return a table that may say the classes: the first that lies in the folder of the data set."""
    root = Path(getattr(found.options, "root", ""))
    return next((shlex.quote(path.name) for path in sorted(root.glob("*.csv"))), "FILE.csv")


def _some(clips: list[str], everything: bool) -> list[str]:
    shown = clips if everything else clips[:_SHOWN]
    rest = [f"    and {len(clips) - len(shown):,} more (--all names them)"] if len(shown) < len(clips) else []
    return [f"    {clip}" for clip in shown] + rest


def sweep_part(found: CheckedSet) -> str:
    """Return the part of a sweep's file that names the set; empty where it has no split to measure on."""
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
    """Whether some clips have to be left out, and can be."""
    missing = any(split.faults.get("missing") for split in found.splits.values())
    return missing and hasattr(found.options, "missing")


def suggestions(found: CheckedSet) -> list[str]:
    """Return commands that measure a model on the set, and train one."""
    if not found.task:
        return []
    holds = getattr(found.options, "holds", {})
    made_of = holds.get("data_set", found.name)  # a cache is trained on as what it was made of
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
    options = _with_shares(found.options, needed)  # a training has all three
    if options is None:
        return [measure, f"train a model:    not yet, as there are no clips for {' and '.join(needed)}"]
    train = f"train a model:    fastast train {recipe} {_settings(found, recipe, options)}"
    heard = FRAMES[recipe] * SHIFT_SECONDS
    if found.median_seconds <= heard:
        return [measure, train]
    frames = _FRAMES_STEP * math.ceil(found.median_seconds / SHIFT_SECONDS / _FRAMES_STEP)
    return [
        measure,
        f"{train} --set model.options.num_frames={frames}",
        f"by itself {recipe} hears {heard:.2f} s of a clip, and half of these last {found.median_seconds:.2f} s or "
        "more: their ends are not heard without the last setting, which costs time and memory",
    ]


def _settings(found: CheckedSet, recipe: str, options: DataOptions) -> str:
    """Return the settings that read the set in place of a recipe's own."""
    settings = setting_lines(found.name, options)
    if found.name == _RECIPE_OF.get(recipe):
        settings = settings[1:]
    elif recipe in _OWN:
        settings.insert(0, f"data.{_OWN[recipe]}=")
    if _lacks_clips(found):
        settings.append("data.missing=leave out")
    if getattr(options, "holds", {}).get("kind") == "fbank":
        settings.append("augmentation.mixup_rate=0")  # which takes samples
    return " ".join(f"--set {shlex.quote(setting)}" for setting in settings)


def _with_shares(options: DataOptions, needed: Sequence[str]) -> DataOptions | None:
    """Return options that set the least shares apart for which no split is empty; None where none do."""
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
