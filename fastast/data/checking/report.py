"""The findings of a check of a data set, as text and as plain values."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastast.data.audio import RESAMPLER
from fastast.data.checking.check import FAULTS, NOTES, CheckedSet, CheckedSplit
from fastast.data.layouts.table_columns import MARKS
from fastast.names import counted

_SHOWN = 5
"""Number of clips to name per kind of fault, unless all are requested."""
_PROBLEMS = "problems found: those named above drop clips or bias results"


def as_dict(found: CheckedSet) -> dict[str, Any]:
    """Return all findings as plain values."""
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
    }
    return values


def as_text(found: CheckedSet, *, everything: bool = False) -> str:
    """Return the findings as text; with `everything`, it names every clip with a fault and every class."""
    lines = [f"{found.name}: {len(found.classes)} classes, {found.task.replace('_', '-')}"]
    said = {warning for split in found.splits.values() for warning in split.warnings}
    lines += sorted(said)
    lines += _whole_names(found)
    for name, split in found.splits.items():
        lines += ["", *_split_lines(name, split, everything=everything)]
    if found.same_as_test:
        lines += ["", "val has the same clips as test"]
    for pair, ids in found.in_two_splits.items():
        lines += ["", f"in both {pair}: {counted(len(ids), 'clip')}", *_some(ids, everything)]
    if len(found.twice) > len(found.other_labels):
        lines += ["", f"the same audio in two splits: {counted(len(found.twice), 'clip')}"]
        lines += _some([f"{one} = {other}" for one, other in found.twice], everything)
    if found.other_labels:
        lines += ["", f"the same audio in two splits with other labels: {counted(len(found.other_labels), 'clip')}"]
        lines += _some([f"{one} = {other}" for one, other in found.other_labels], everything)
    for name in found.splits_in_train:
        lines += ["", f"all audio of {name} is in train too: results on it say nothing about new clips"]
    if found.untrained:
        lines += ["", _classes_without("a clip to train on", found.untrained)]
    if found.lone_class:
        lines += [
            "",
            f"{found.lone_class!r} is the only class, so there is nothing to classify: name the folder that holds the "
            f"class folders, or the table that gives the classes (--name table -s table={_table(found)})",
        ]
    lines += ["", "sound" if found.is_sound else _PROBLEMS]
    return "\n".join(lines)


def _whole_names(found: CheckedSet) -> list[str]:
    """Return a remark on a table with one label per clip if a label looks like several."""
    name = next((name for name in found.classes for mark in MARKS if mark in name), None)
    if name is None or getattr(found.options, "several", None) != "":
        return []
    mark = next(mark for mark in MARKS if mark in name)
    return [f"{name!r} is read as the name of one class; if it is several: -s several={mark}"]


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
    """Return the counts as text, most frequent first."""
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
    """Return how many classes lack something, and the first few of them."""
    more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    count = "1 class" if len(classes) == 1 else f"{len(classes):,} classes"
    return f"{count} without {what}: {', '.join(classes[:_SHOWN])}{more}"


def _table(found: CheckedSet) -> str:
    """Return a table that may give the classes: the first one in the folder of the data set."""
    root = Path(getattr(found.options, "root", ""))
    return next((shlex.quote(path.name) for path in sorted(root.glob("*.csv"))), "FILE.csv")


def _some(clips: list[str], everything: bool) -> list[str]:
    shown = clips if everything else clips[:_SHOWN]
    rest = [f"    and {len(clips) - len(shown):,} more (--all names them)"] if len(shown) < len(clips) else []
    return [f"    {clip}" for clip in shown] + rest
