"""Tables of alternatives: one axis with the default marked, or fronts at equal speed, arithmetic and loss."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from bench.ablation.evidence import Evidence
from bench.ablation.fronts import Front, Gain, by_macs, by_speed, estimate, estimate_gain, front_of, minus
from bench.ablation.series import Alternatives, schedule_phrase
from bench.ablation.table import AT_LEAST, BETTER, WORSE, AblationTable
from bench.report.words import listed, number
from fastast.statistics import Estimate, side_of_zero

LOSSES = (0.002, 0.005, 0.01)
"""Losses at which gains are compared, in mAP (or accuracy)."""
_LATER = " From: merging at a larger stride begins at what that stride alone gains."
_STEPS = (1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
_MOST_TARGETS = 4
NOT_REACHED = "not reached"
_NOTHING = Estimate(value=math.nan, low=math.nan, high=math.nan)
"""Estimate for a front without such a point; an empty field in a file."""
CHOSEN = "✓"
_SPEEDUP = "Speed-up: median time of the unmerged model over that of the {}, interleaved in the same process."
GAINS = {
    "measured speed-up": _SPEEDUP.format("configuration"),
    "ratio of multiply-accumulates": "Ratio of multiply-accumulates: the unmerged model's over the configuration's.",
}
"""Gains at which fronts are compared, with their meanings."""


def axis_table(found: Alternatives, word: str) -> AblationTable:
    """Return the ablation of one axis: quality, difference to the reference, and speed-up if any option was timed."""
    reference = found.reference.points[0]
    timed = any(one.points[0].speedup for one in found.series)
    axes, schedule = listed(found.axes), str(reference.reduction["schedule"]) if reference.reduction else "constant:0"
    heads = [axes, word, f"against {found.reference.name}"]
    rows = []
    ranked = sorted(found.series, key=lambda one: (not one.chosen, -_value(one.points[0].quality)))
    for one in ranked:  # the default, then the others from best to worst
        (point,) = one.points
        itself = point is reference
        cells = [f"{one.name} {CHOSEN}" if one.chosen else one.name]
        cells.append(shown(_estimated(point.quality), "{:.4f}"))
        cells.append("0" if itself else _against(point.quality, reference.quality))
        if timed:
            cells.append(shown(estimate_gain(point.speedup) if point.speedup else None, "{:.2f}"))
        rows.append(tuple(cells))
    return AblationTable(
        title=f"Ablation of {axes}, with {schedule_phrase(schedule)}",
        heads=(*heads, *(["speed-up"] if timed else [])),
        rows=tuple(rows),
        note=f"{CHOSEN}: the option that FastAST takes where nothing is said. Differences are paired, over the same "
        f"clips; {BETTER} better and {WORSE} worse than {found.reference.name} by a 95 % interval that excludes zero, "
        "not corrected for the number of options: by chance, one in forty looks better."
        + f" {_SPEEDUP.format('option')}"
        * timed,
    )


def fronts_of(found: Alternatives, gain: Gain) -> dict[str, Front]:
    """Return the front of every series that has one. Raises ValueError if the unmerged model was not scored.

    Fronts begin at the unmerged model, except those of merging at another stride, which begin at that stride alone.
    """
    if found.unmerged is None:
        raise ValueError("fronts begin at the unmerged model, whose quality was not measured; add r = 0 to the grid")
    fronts = {}
    for one in found.series:
        points, stride = one.points, one.points[0].stride
        anchored = stride is None or points[0].reduction is None
        if not anchored and any(point.quality and gain(point) for point in points):
            points = (*found.alone_at(stride), *points)
        fronts[one.name] = front_of(points, found.unmerged, gain, anchored=anchored)
    return {name: front for name, front in fronts.items() if front is not None}


def front_tables(found: Alternatives, word: str) -> list[AblationTable]:
    """Return, for speed and for arithmetic, a table of quality at equal gains and one of gains at fixed losses."""
    tables = []
    for gain, what in zip((by_speed, by_macs), GAINS, strict=True):
        fronts = fronts_of(found, gain)
        if fronts:
            tables += [_at_equal(found, fronts, what, word), _at_loss(found, fronts, what, word)]
    return tables


def numbers(found: Alternatives) -> pd.DataFrame:
    """Return every number of the tables in a row of its own: alternative, against, measure, at, value, low, high.

    Where a front does not reach a gain at which the reference has a quality, the row of the difference has no value.
    """
    rows: list[dict[str, object]] = []
    for one in found.series:
        for point, r in zip(one.points, one.rs, strict=True):
            if point.quality is not None:
                rows.append(_number(one.name, "", "quality", r, estimate(point.quality)))
            if point.speedup is not None:
                rows.append(_number(one.name, "", "speedup", r, estimate_gain(point.speedup)))
    if found.is_one_axis:
        chosen = found.reference
        for one in found.series:
            if one is not chosen and one.points[0].quality and chosen.points[0].quality:
                difference = estimate(minus(one.points[0].quality, chosen.points[0].quality))
                rows.append(_number(one.name, chosen.name, "quality", one.rs[0], difference))
        return pd.DataFrame(rows)
    for gain, what in ((by_speed, "speedup"), (by_macs, "macs_ratio")):
        fronts = fronts_of(found, gain)
        measures = [(f"quality at {what}", at, lambda f, at=at: f.at(at)) for at in targets(fronts)]
        measures += [(f"{what} at loss", at, lambda f, at=at: f.within(at)) for at in LOSSES]
        if targets(fronts):
            most = targets(fronts)[-1]
            measures.append((f"mean quality to {what}", most, lambda f, most=most: f.area(most)))
        for measure, at, function in measures:
            values = {name: function(front) for name, front in fronts.items()}
            shape = estimate_gain if "at loss" in measure else estimate
            reference = values.get(found.reference.name)
            for name, value in values.items():
                if value is not None:
                    rows.append(_number(name, "", measure, at, shape(value)))
                if reference is None or name == found.reference.name:
                    continue
                if value is not None:
                    difference = shape(minus(value, reference))
                    rows.append(_number(name, found.reference.name, measure, at, difference))
                elif measure.startswith("quality"):  # the front ends before this gain, or begins after it
                    rows.append(_number(name, found.reference.name, measure, at, _NOTHING))
    return pd.DataFrame(rows)


def targets(fronts: Mapping[str, Front]) -> list[float]:
    """Return the gains to compare at: at most four, evenly chosen from those that at least half of the fronts reach."""
    reached = [step for step in _STEPS if 2 * sum(front.most >= step for front in fronts.values()) >= len(fronts)]
    if len(reached) <= _MOST_TARGETS:
        return reached
    last = len(reached) - 1
    return [reached[round(i * last / (_MOST_TARGETS - 1))] for i in range(_MOST_TARGETS)]


def _at_equal(found: Alternatives, fronts: Mapping[str, Front], what: str, word: str) -> AblationTable:
    """Return the table of quality minus the unmerged model's at equal gains."""
    assert found.unmerged is not None and found.unmerged.quality is not None  # noqa: PT018
    unmerged, reference = found.unmerged.quality, fronts.get(found.reference.name)
    at = targets(fronts)
    rows = []
    for one in found.series:
        front = fronts.get(one.name)
        cells = [_named(one.name, one is found.reference)]
        for gain in at:
            mine, theirs = (line.at(gain) if line else None for line in (front, reference))
            theirs = theirs if one is not found.reference else None
            cells.append(_less(mine, unmerged, theirs) if mine else _outside(front, gain))
        cells += [f"{front.most:.2f}", str(front.measured)] if front else ["1", "0"]
        rows.append(tuple(cells))
    return AblationTable(
        title=f"{word} less the unmerged model's, at equal {what}",
        heads=("", *(f"{gain:g} ×" for gain in at), "most", "points"),
        rows=tuple(rows),
        unranked=("most", "points"),
        note=f"{GAINS[what]} Straight between the points of each front, on the same clips, with intervals of 95 %. "
        f"{BETTER} better, {WORSE} worse than {found.reference.name} at the same {what}, by an interval "
        "without zero of the paired difference, which ablation.csv has. Most: the largest that was measured; points: "
        "how many the front has beside the unmerged model."
        + (_LATER if any(front.least > 1 for front in fronts.values()) else ""),
    )


def _at_loss(found: Alternatives, fronts: Mapping[str, Front], what: str, word: str) -> AblationTable:
    """Return the table of gains at fixed losses, and of mean quality."""
    reference, at = fronts.get(found.reference.name), targets(fronts)
    most = at[-1] if at else 0.0
    bounds = {loss: reference.bounds_within(loss) for loss in LOSSES} if reference else {}
    rows = []
    for one in found.series:
        front, itself = fronts.get(one.name), one is found.reference
        cells = [_named(one.name, itself)]
        for loss in LOSSES:
            cells.append(_gain_at(front, loss, None if itself else bounds.get(loss)))
        mine, theirs = (line.area(most) if line else None for line in (front, reference))
        text = shown(_estimated(mine), "{:.4f}", missing=_outside(front, 1))
        rows.append((*cells, text + ("" if itself else _mark(mine, theirs))))
    return AblationTable(
        title=f"{what[0].upper()}{what[1:]} at a fixed loss, and the area under the front",
        heads=("", *(f"loss {loss:g}" for loss in LOSSES), f"mean {word} to {most:g} ×"),
        rows=tuple(rows),
        note=f"{GAINS[what]} Loss: of {word}, against the unmerged model on the same clips. ≥: the whole front "
        f"loses less; 1: all of it loses more. Area: mean of {word} along the front from 1 to {most:g}. "
        f"{BETTER}, {WORSE}: better, worse than {found.reference.name} by an interval without zero of the paired "
        "difference.",
    )


def _gain_at(front: Front | None, loss: float, theirs: tuple[Evidence, Evidence] | None) -> str:
    """Return the gain at a loss, marked if it differs clearly from the reference's, whose bounds are `theirs`."""
    if front is None:
        return "1"
    least, most = front.bounds_within(loss)
    if most.value == 1:
        text = "1"
    else:
        text = shown(estimate_gain(least), "{:.2f}") if least.value == most.value else f"{AT_LEAST}{front.most:.2f}"
    if theirs is None:
        return text
    better = estimate_gain(minus(least, theirs[1])).low > 0
    worse = estimate_gain(minus(most, theirs[0])).high < 0
    return f"{text} {BETTER}" if better else f"{text} {WORSE}" if worse else text


def _outside(front: Front | None, gain: float) -> str:
    """Return the text for a gain, or a range that begins at it, outside of a front."""
    return f"from {front.least:.2f} ×" if front and gain < front.least else NOT_REACHED


def _less(mine: Evidence, unmerged: Evidence, reference: Evidence | None) -> str:
    return shown(estimate(minus(mine, unmerged)), "{:+.4f}") + _mark(mine, reference)


def _against(mine: Evidence | None, theirs: Evidence | None) -> str:
    if mine is None or theirs is None:
        return "not measured"
    return shown(estimate(minus(mine, theirs)), "{:+.4f}") + _mark(mine, theirs)


def _mark(mine: Evidence | None, theirs: Evidence | None) -> str:
    """Return the mark of a value that differs clearly from another: the difference's interval excludes zero."""
    if mine is None or theirs is None:
        return ""
    difference = estimate(minus(mine, theirs))
    return ("", f" {BETTER}", f" {WORSE}")[side_of_zero(difference.low, difference.high)]


def shown(value: Estimate | None, form: str, *, missing: str = "not measured") -> str:
    """Return a value with its interval as text, with real minus signs."""
    if value is None:
        return missing
    texts = [number(one, form) for one in (value.value, value.low, value.high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _value(one: Evidence | None) -> float:
    return -1.0 if one is None else one.value


def _estimated(value: Evidence | None) -> Estimate | None:
    return None if value is None else estimate(value)


def _named(name: str, reference: bool) -> str:
    return f"**{name}**" if reference else name


def _number(name: str, against: str, measure: str, at: float | None, value: Estimate) -> dict[str, object]:
    found: dict[str, object] = {"alternative": name, "against": against, "measure": measure, "at": at}
    return found | {"value": value.value, "low": value.low, "high": value.high}
