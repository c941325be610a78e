"""Names and sentences that figures, tables and pages share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from bench.records.export import OWN_LENGTH, STRIDE
from bench.records.schema import Record
from bench.report.option_words import option_words, options_of
from fastast.names import counted

FAMILY_NAMES = {
    "constant": "constant r",
    "decreasing": "decreasing r",
    "increasing": "increasing r",
    "early": "early only",
    "late": "late only",
    "first": "first block only",
}
DATASET_NOTES = {"soundscapes": "synthetic scenes of real recordings"}
"""What a reader must know about a data set."""
FAILURES = {"oom": "out of memory", "error": "failed", "timeout": "timed out", "implausible": "implausible"}
"""Text in place of a number, by the status of a record without one."""
UNREDUCED = {STRIDE: "larger stride", OWN_LENGTH: "own length"}
"""Methods that remove no tokens: their input has fewer from the start."""
SCOPE_NAMES = {"waveform": "from waveforms", "stream": "stream", "training_step": "training step"}
"""Names of scopes other than the forward alone."""
ENGINE_NAMES = {"plain": "PyTorch", "triton": "FastAST's engine", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
"""Names of engines in tables."""
NOT_MEASURED = "not measured"
BEST_BATCH = math.inf
"""Batch size of cells that search for the best one of every arm; sorts after all numbers."""


def series_name(row: pd.Series) -> str:
    """Return the name of a line in a figure: method, family of schedules, and every option that is not the default.

    Where engines share a panel, the engine comes first.
    """
    kernel = [] if row["attention"] in ("auto", "") else [f"{row['attention']} attention"]
    setup = [row["setup"]] if row.get("setup") else []
    if row["method"] == "none":
        return ", ".join([*setup, "unmerged", *kernel])
    options = [option_words(name, value) for name, value in options_of(str(row["options"] or "")).items()]
    if row["method"] in UNREDUCED:
        return ", ".join([*setup, method_label(row["method"]), *options, *kernel])
    family = family_words(row["family"])
    usual = _usual_options(row["method"]) | {"excess": "refuse"}
    told = ("metric", "order", "excess")
    extras = [option_words(key, str(row[key])) for key in told if row[key] not in (usual[key], "")]
    if row["proportional"] is False:
        extras.append("unweighted attention")
    return ", ".join([*setup, f"{method_label(row['method'])}, {family}", *extras, *options, *kernel])


def family_words(family: str) -> str:
    """Return a family of schedules in words: linear −0.5 for `linear:-0.5`, block 4 only for a list of that block."""
    name, _, value = family.partition(":")
    if name == "list":
        blocks = [number for number, removed in enumerate(value.split(","), 1) if removed != "0"]
        return f"block {blocks[0]} only" if len(blocks) == 1 else family
    return FAMILY_NAMES.get(family, f"{name} {value.replace('-', '−')}".strip())


def row_name(row: pd.Series) -> str:
    """Return the name of a point: that of its line, with its r, or with its schedule if that has no r."""
    name = series_name(row)
    if row["method"] == "none":
        return name
    if row["method"] == STRIDE:
        return name.replace(method_label(STRIDE), _stride_words(row), 1)
    if pd.isna(row["r"]):
        return name.replace(family_words(row["family"]), str(row["schedule"]), 1)
    family = family_words(row["family"])
    return name.replace(family, f"{family}{'' if family.endswith(' r') else ', r'} = {row['r']:.0f}", 1)


def _stride_words(row: pd.Series) -> str:
    """Return the stride in words if a row differs in nothing else from the unmerged model; else empty text."""
    return str(row["schedule"]).replace(":", " ", 1) if row["method"] == STRIDE else ""


def table_name(row: pd.Series) -> str:
    """Return the name of a row in a table, which has a column for r; a stride is not an r, so it is in the name."""
    return row_name(row) if row["method"] == STRIDE else series_name(row)


def point_label(row: pd.Series) -> str:
    """Return the label of a point: its r, or its stride, or its schedule if that has no r."""
    if row["method"] == "none":
        return "r=0"
    if pd.notna(row["r"]):
        return f"{row['r']:.0f}"
    return _stride_words(row) or UNREDUCED.get(row["method"]) or family_words(row["family"])


def setup_name(row: pd.Series, *, dtype: bool) -> str:
    """Return what a row ran on in a panel of several engines; `dtype`: whether the panel has several dtypes too."""
    engine = ENGINE_NAMES.get(row["engine"], row["engine"])
    return f"{engine} {row['dtype']}" if dtype else engine


def is_unmerged(row: pd.Series) -> bool:
    """Return whether a row is the unmerged model with its default attention."""
    return bool(row["method"] == "none" and row["attention"] in ("auto", ""))


def _usual_options(method: str) -> dict[str, str]:
    """Return the defaults of the options that have columns of their own; ToMe's for a method not installed here."""
    from fastast.reduction import get_method, method_names

    options = get_method(method if method in method_names() else "tome").options()
    return {name: str(getattr(options, name, "")) for name in ("metric", "order")}


def method_label(name: str) -> str:
    """Return the label of a method, or its name if it is not installed here."""
    from fastast.reduction import get_method, method_names

    if name in UNREDUCED:
        return UNREDUCED[name]
    return get_method(name).label if name in method_names() else name


def is_denominator(row: pd.Series) -> bool:
    """Return whether a row is the model that speed-ups are over: its own is 1, whatever was measured.

    A training step on an engine other than `plain` is not: its speed-ups are over the plain model.
    """
    elsewhere = row["scope"] == "training_step" and row["engine"] != "plain"
    return is_unmerged(row) and not elsewhere


def score_word(rows: pd.DataFrame) -> str:
    """Return the measure of the rows' data: `accuracy` where clips have one label, else `mAP`."""
    return " and ".join(sorted(rows["score_name"].dropna().unique())) or "mAP"


def software_line(rows: pd.DataFrame) -> str:
    """Return the models of some rows, and the versions of the software that ran them."""
    return f"{', '.join(_known(rows, 'model'))}; {versions_words(rows)}"


def versions_words(rows: pd.DataFrame) -> str:
    """Return the versions of PyTorch, and of other runtimes where they ran some of the rows."""
    runtimes = map(runtime_words, _known(rows, "runtime")) if "runtime" in rows else ()
    return ", ".join([f"PyTorch {', '.join(_known(rows, 'torch'))}", *runtimes])


def runtime_of(record: Record) -> str | None:
    """Return the runtime that ran a record's model, with its version; None for PyTorch."""
    return record.engine.kernels.get("runtime") if record.engine is not None else None


def runtime_words(runtime: str) -> str:
    """Return a runtime and its version by their proper name: OpenVINO 2026.4.1 for `openvino 2026.4.1`."""
    name, _, version = runtime.partition(" ")
    return f"{ENGINE_NAMES.get(name, name)} {version}".strip()


def _known(rows: pd.DataFrame, column: str) -> list[str]:
    return sorted({str(one) for one in rows[column].dropna()} - {""})


def facts_line(rows: pd.DataFrame) -> str:
    """Return what a reader must know about the numbers, in one line."""
    parts = [", ".join(_known(rows, "model"))]
    quality = rows.dropna(subset=["score"])
    if len(quality):
        first = quality.iloc[0]
        clips = ", ".join(f"{count:.0f}" for count in sorted(quality["clips"].unique()))
        note = DATASET_NOTES.get(first["dataset"])
        what = f"{score_word(quality)} on {clips} clips of {first['dataset']} {first['split']}"
        parts.append(what + (f" ({note})" if note else ""))
    parts.append(versions_words(rows))
    return "; ".join([*filter(None, parts), "intervals are 95 % bootstrap"])


def device_name(row: pd.Series) -> str:
    """Return the device; for a CPU also its instruction set and threads."""
    cpu = f", {row['instructions']}, {counted(int(row['threads']), 'thread')}" if row["device"] == "cpu" else ""
    return f"{row['device_name']}{cpu}"


def engine_words(panel: pd.DataFrame) -> str:
    """Return the engine that a panel's models share, as a suffix; empty for PyTorch or for several engines."""
    engine = panel["shared_engine"].iloc[0]
    if engine in ("plain", ""):
        return ""
    if engine != "triton":
        return f", {ENGINE_NAMES.get(engine, engine)}"
    paths = sorted(panel["engine_path"].dropna().unique())
    return ", engine" + (f" ({', '.join(paths)})" if paths and paths != ["triton"] else "")


def dtype_words(panel: pd.DataFrame) -> str:
    """Return the dtype that a panel shares, as a suffix; empty if its engines have several."""
    shared = panel["shared_dtype"].iloc[0]
    return f", {shared}" if shared else ""


def scope_words(row: pd.Series) -> str:
    """Return the scope of a panel's times, as a suffix; empty for the forward alone."""
    return f", {SCOPE_NAMES[row['scope']]}" if row["scope"] in SCOPE_NAMES else ""


def batch_words(batch_size: float) -> str:
    """Return a panel's batch size in words."""
    return "best batch size of each" if batch_size == BEST_BATCH else f"batch size {batch_size:.0f}"


def cell_batch_words(row: pd.Series) -> str:
    """Return the batch size of a record's flat row in words."""
    return batch_words(BEST_BATCH if row["batch"] == "best" else row["batch_size"])


def number(value: float, form: str, *, missing: str = NOT_MEASURED) -> str:
    """Return a number with a real minus sign, or `missing` for NaN; zero has no sign."""
    if pd.isna(value):
        return missing
    text = form.format(value)
    return text.lstrip("+-") if not text.strip("+-0.") else text.replace("-", "−")


def interval(row: pd.Series, name: str, form: str, *, missing: str = NOT_MEASURED) -> str:
    """Return `value [low, high]` from a column and its `_low` and `_high`, `value` if these are NaN."""
    if pd.isna(row[name]):
        return missing
    value, low, high = (number(row[key], form) for key in (name, f"{name}_low", f"{name}_high"))
    return value if pd.isna(row[f"{name}_low"]) else f"{value} [{low}, {high}]"


def listed(names: Sequence[str]) -> str:
    """Return names as prose: `a, b and c`; empty text for no names."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
