"""Published answers of `fastast tune` as tables, and the page that shows them all."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pandas as pd

from bench.report.frame import ReportError
from bench.report.tables.markdown import markdown_table
from bench.report.words import number
from fastast.statistics import side_of_zero
from fastast.system.writing import write_whole

FOLDER = "tuning"
"""Name of the folder in results and in reports."""
_SHOWN = {"clips_per_second": "{:.1f}", "speedup": "{:.2f}", "metric": "{:.4f}", "loss": "{:+.4f}"}
_COMPARED = {"gain": "{:+.4f}", "time": "{:.3f}"}


def tuning_path(results: Path, name: str) -> Path:
    """Return the path of an answer, whether it exists or not."""
    return results / FOLDER / f"{name}.toml"


def tuning_frame(results: Path, name: str) -> pd.DataFrame:
    """Return a row per schedule of an answer: `unmerged`, `tuned`, `constant`, `decreasing`; estimates have `_low` and
    `_high`. Raises ReportError for a file that is not an answer."""
    values = _read(tuning_path(results, name))
    rows = []
    for row, measured in values["measured"].items():
        found: dict[str, Any] = {"name": row, "schedule": measured["schedule"], "machine": values["tuning"]["device"]}
        found["target"] = _target(values["tuning"]["target"])
        for key in (*_SHOWN, *_COMPARED):
            estimate = measured.get(key, [float("nan")] * 3)
            found |= dict(zip((key, f"{key}_low", f"{key}_high"), estimate, strict=True))
        rows.append(found)
    return pd.DataFrame(rows)


def render_tunings(results: Path, out: Path) -> Path | None:
    """Write `out/tuning.md`, with a table per answer; return its path, None if nothing is published."""
    paths = sorted((results / FOLDER).glob("*.toml"))
    if not paths:
        return None
    parts = ["# What `fastast tune` found"]
    for path in paths:
        asked, frame = _read(path)["tuning"], tuning_frame(results, path.stem)
        parts += [
            f"## {path.stem}",
            f"{asked['model']}, {asked['method']['method']}, batch {asked['batch_size']}, {asked['device']}: "
            f"{_target(asked['target'])}. Calibrated on {asked['calibration_clips']} clips of {asked['split']}; the "
            f"table is of {asked['held_out_clips']} others, {asked['metric']}, with intervals of 95 %."
            + ("" if asked["meets"] else " The target is not met: this is the nearest that was found."),
            _table(frame),
            f"Gain: {asked['metric']} of the tuned schedule less that row's, on the same clips; time: of the tuned "
            "schedule over that row's, in the same rounds. Constant, decreasing: the fastest of their kind that are no "
            "faster.",
            _verdicts(frame, asked["held_out_clips"]),
            f"`{frame.loc[frame['name'] == 'tuned', 'schedule'].item()}`",
        ]
    write_whole(out / "tuning.md", ("\n\n".join(parts) + "\n").encode())
    return out / "tuning.md"


def _table(frame: pd.DataFrame) -> str:
    heads = ["", *(name.replace("_", " ") for name in (*_SHOWN, *_COMPARED))]
    rows = []
    for _, row in frame.iterrows():
        cells = [str(row["name"])]
        for key, form in (_SHOWN | _COMPARED).items():
            value, low, high = (number(row[f"{key}{end}"], form, missing="") for end in ("", "_low", "_high"))
            cells.append(f"{value} [{low}, {high}]" if value else "")
        rows.append(cells)
    return markdown_table(heads, rows)


def _verdicts(frame: pd.DataFrame, clips: int) -> str:
    """Return sentences on whether the tuned schedule differs from the others, and which difference would show."""
    said = []
    for _, row in frame[frame["gain"].notna()].iterrows():
        if side := side_of_zero(row["gain_low"], row["gain_high"]):
            better = "better" if side > 0 else "worse"
            said.append(f"The tuned schedule is {better} than the best {row['name']} one.")
        else:
            half = number((row["gain_high"] - row["gain_low"]) / 2, "{:.4f}")
            said.append(
                f"The tuned schedule is not told apart from the best {row['name']} one: {clips} clips tell differences "
                f"of about {half}, and theirs is not clearly larger."
            )
    return " ".join(said) or "No constant or decreasing schedule comes near this speed."


def _target(target: dict[str, float]) -> str:
    words = {
        "speedup": "{:g} times as fast as the model unmerged",
        "clips_per_second": "{:g} clips per second",
        "max_loss": "a loss of at most {:g}",
    }
    ((key, value),) = target.items()
    return words[key].format(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        _ = values["tuning"]["device"], values["measured"]["tuned"]["schedule"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ReportError(f"{path}: this is not an answer of `fastast tune`: {error!r}") from None
    return values
