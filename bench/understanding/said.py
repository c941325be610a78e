"""A sentence for every figure that says what it shows, made from the numbers that are drawn."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

import numpy as np

from bench.ablation.series import schedule_phrase
from bench.report.words import DATASET_NOTES, listed
from bench.understanding.picture import gone_blocks
from bench.understanding.record import BlockNotes, MethodNotes, Understanding
from fastast.reduction import TokenReduction
from fastast.schedule import parse_schedule


def sentences(found: Understanding, labels: dict[str, str]) -> dict[str, str]:
    """Return the sentence for each figure, by its name."""

    def label(one: MethodNotes) -> str:
        return labels.get(one.method, one.method)

    return {
        "merges": _merges(found, label),
        "axes": _axes(found, label),
        "silence": _silence(found, label),
        "similarity": _similarity(found, label),
    }


def observed_facts(found: Understanding) -> str:
    """Return on which model, at which r and on which clips methods were observed."""
    schedules = listed(list(dict.fromkeys(schedule_phrase(one.schedule) for one in found.methods)))
    data = f"the first {found.clips} {found.split} clips of the soundscapes ({DATASET_NOTES['soundscapes']})"
    return f"{found.model}, {schedules}; {data}; PyTorch {found.torch}"


def in_percent(share: float) -> str:
    """Return a share in percent, as everywhere in this project: `60 %`."""
    return f"{100 * share:.0f} %"


def _merges(found: Understanding, label: Callable[[MethodNotes], str]) -> str:
    sounds = np.array([letter == "#" for letter in found.picture.sounding])  # (t',)
    spared = []
    for one in found.methods:
        gone = ~np.isnan(gone_blocks(one.gone_at))  # (f', t')
        spared.append((gone[:, ~sounds].mean() - gone[:, sounds].mean() if 0 < sounds.sum() < len(sounds) else 0, one))
    most, least = (choose(spared, key=lambda pair: pair[0])[1] for choose in (max, min))
    return (
        f"Which patches of {found.picture.clip} go, in which block, by which method. On this one clip {label(most)} "
        f"spares the patches at times of events most, {label(least)} least."
    )


def _axes(found: Understanding, label: Callable[[MethodNotes], str]) -> str:
    merging = [one for one in found.methods if any(block.pairs for block in one.blocks)]
    if not merging:
        return "None of these methods merges pairs."
    along = {
        name: [(_mean(one, attrgetter(f"along_{name}")), one) for one in merging] for name in ("time", "frequency")
    }
    time, frequency = (max(pairs, key=lambda pair: pair[0]) for pairs in along.values())
    return (
        f"Which way tokens merge: along time most by {label(time[1])} ({in_percent(time[0])} of all pairs), along "
        f"frequency most by {label(frequency[1])} ({in_percent(frequency[0])})."
    )


def _silence(found: Understanding, label: Callable[[MethodNotes], str]) -> str:
    judged = [(one.silence_leads, one) for one in found.methods if one.silence_leads and not draws_once(one)]
    if not judged:
        return "Nothing tells silence from sound in these clips."
    first = [label(one) for (low, _, _), one in judged if low > 0]
    last = [label(one) for (_, _, high), one in judged if high < 0]
    same = [label(one) for (low, _, high), one in judged if low <= 0 <= high]
    parts = [f"silence goes before events with {listed(first)}"] * bool(first)
    parts += [f"events go before silence with {listed(last)}"] * bool(last)
    parts += [f"not told apart with {listed(same)}"] * bool(same)
    chance = [label(one) for one in found.methods if one.silence_leads and draws_once(one)]
    parts += [f"{listed(chance)} drew once, and {'say' if len(chance) > 1 else 'says'} nothing of it"] * bool(chance)
    return f"Whether silence goes before sound, on the mean over blocks: {'; '.join(parts)}."


def draws_once(one: MethodNotes) -> bool:
    """Return whether a method chooses at random: it drew once here, and another draw would differ."""
    return TokenReduction(schedule=parse_schedule(one.schedule), method=one.method).draws


def _similarity(found: Understanding, label: Callable[[MethodNotes], str]) -> str:
    shown = []
    for one in found.methods:
        middles = [block.similarity[1] for block in one.blocks if block.similarity]
        if middles:
            shown.append((middles[0], middles[-1], one))
    if not shown:
        return "None of these methods merges pairs."
    begin, end, one = shown[0]
    lowest = min(shown, key=lambda entry: entry[1])
    return (
        f"How alike the keys of two tokens are when they merge: with {label(one)} a median cosine of {begin:.3f} in "
        f"the first block that merges and {end:.3f} in the last; least alike in the last with {label(lowest[2])}, "
        f"{lowest[1]:.3f}."
    )


def _mean(one: MethodNotes, value: Callable[[BlockNotes], float | None]) -> float:
    """Return the mean of a value over all pairs of a method."""
    pairs = [(block.pairs, found) for block in one.blocks if (found := value(block)) is not None]
    total = sum(count for count, _ in pairs)
    return sum(count * found for count, found in pairs) / total if total else 0.0
