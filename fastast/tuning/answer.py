"""A tuning's answer as a file and as text."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastast.schedule import PerBlock
from fastast.statistics import Estimate, side_of_zero
from fastast.tuning.measuring.clips import TuningClips
from fastast.tuning.question import TuningQuestion, differing_key
from fastast.tuning.result import TunedRow, Tuning
from fastast.tuning.target import TuningError


def answer_toml(
    question: TuningQuestion,
    found: Tuning,
    calibration: TuningClips,
    held_out: TuningClips,
    where: str,
    metric: str,
    said: str,
) -> str:
    """Return the text of the file: a reduction as every command takes it, and below it how it was found."""
    parts: dict[str, Mapping[str, Any]] = {
        "reduction": question.method.to_dict() | {"schedule": str(PerBlock(found.counts))},
        "tuning": question.to_dict()
        | {
            "meets": found.meets,
            "metric": metric,
            "device": where,
            "calibration_clips": len(calibration),
            "calibration_ids_sha256": calibration.ids_sha256,
            "calibration_metric": found.calibration.metric,
            "calibration_divergence": found.calibration.divergence,
            "held_out_clips": len(held_out),
            "held_out_ids_sha256": held_out.ids_sha256,
            "schedules_evaluated": found.evaluated,
            "measured_over_forecast_time": found.forecast,
            "said": said,
        },
    }
    parts |= {f"measured.{row.name}": _row_values(row) for row in found.rows}
    head = "# Found by `fastast tune`. Use it wherever a schedule is accepted: --schedule FILE, a sweep, a recipe.\n"
    return head + "".join(f"\n[{name}]\n{_lines(values)}" for name, values in parts.items())


def answer_text(
    found: Tuning, question: TuningQuestion, calibration: TuningClips, held_out: TuningClips, where: str, metric: str
) -> str:
    """Return the answer as a table for people."""
    rival = next((row for row in found.rows if row.gain is not None), None)
    lines = [
        f"{question.model}, {question.method.method}, batch {question.batch_size} on {where}: {question.target}",
        f"calibrated on {len(calibration)} clips ({calibration.what}); the table shows results on {len(held_out)} "
        f"others ({held_out.what}), with 95 % intervals",
        f"{'':16}  {'clips/s':>22}  {'speed-up':>20}  {metric:>24}  {'loss':>26}",
    ]
    for row in found.rows:
        lines.append(
            f"{_shown_name(row):16}  {_shown(row.clips_per_second, '.1f'):>22}  {_shown(row.speedup, '.2f'):>20}  "
            f"{_shown(row.metric, '.4f'):>24}  {_shown(row.loss, '.4f'):>26}"
        )
    for row in found.rows:
        if row.gain is not None and row.time is not None:
            lines.append(
                f"tuned against the best {row.name}: {metric} {_shown(row.gain, '+.4f')}, {_verdict(row.gain)}; "
                f"takes {_shown(row.time, '.3f')} times as long"
            )
    if rival is None:
        lines.append("no constant or decreasing schedule is slow enough to compare with")
    if not found.meets:
        lines.append(f"the target is not met: {question.target}; this is the nearest schedule that was found")
    lines.append(f"schedule: {PerBlock(found.counts)}")
    return "\n".join(lines)


def read_answer(path: Path, question: TuningQuestion, where: str) -> dict[str, Any] | None:
    """Return the contents of a file that answers this question; None if the file does not exist.

    Raises TuningError if it answers another question, or is not an answer: nothing is overwritten.
    """
    if not path.exists():
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        asked = json.loads(json.dumps(question.to_dict() | {"device": where}))
        theirs = {key: value for key, value in values["tuning"].items() if key in asked}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, AttributeError):
        raise TuningError(f"{path}: this file was not written by `fastast tune`; give another --out") from None
    if key := differing_key(theirs, asked):
        raise TuningError(
            f"{path}: this is the answer to another question: {key} was {theirs.get(key)!r} and is now {asked[key]!r}. "
            "Give another --out, or remove the file"
        )
    return values


def _row_values(row: TunedRow) -> dict[str, Any]:
    values: dict[str, Any] = {"schedule": str(PerBlock(row.counts))}
    for name in ("clips_per_second", "speedup", "metric", "loss", "gain", "time"):
        estimate: Estimate | None = getattr(row, name)
        if estimate is not None:
            values[name] = [estimate.value, estimate.low, estimate.high]
    return values


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)  # TOML spells numbers, strings and booleans as JSON does


def _shown_name(row: TunedRow) -> str:
    return f"best {row.name}" if row.gain is not None else row.name


def _shown(estimate: Estimate, form: str) -> str:
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def _verdict(gain: Estimate) -> str:
    return ("not told apart", "better", "worse")[side_of_zero(gain.low, gain.high)]
