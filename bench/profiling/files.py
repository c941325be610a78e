"""The tables of a profile as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from bench.profiling.by_stage import BlockStageRow, KernelRow, StageRow
from bench.profiling.tables import BlockRow, OperatorRow, Profile, SummaryRow


def write_tables(folder: Path, profiles: Iterable[Profile]) -> list[Path]:
    """Write `summary.csv` to a cell's folder and the other tables to its arms' folders; return their paths.

    `kernels.csv` is written only if a GPU ran kernels; otherwise one left by an earlier profile is deleted.
    """
    written: list[Path] = []
    summary: list[SummaryRow] = []
    for profile in profiles:
        summary += profile.summary
        own = folder / profile.arm
        written += [
            _write(own / "operators.csv", OperatorRow, profile.operators),
            _write(own / "blocks.csv", BlockRow, profile.blocks),
            _write(own / "stages.csv", StageRow, profile.stages),
            _write(own / "block_stages.csv", BlockStageRow, profile.block_stages),
        ]
        if profile.kernels:
            written.append(_write(own / "kernels.csv", KernelRow, profile.kernels))
        else:
            (own / "kernels.csv").unlink(missing_ok=True)
    return [_write(folder / "summary.csv", SummaryRow, summary), *written]


def _write(path: Path, kind: type, rows: Sequence[Any]) -> Path:
    names = [field.name for field in fields(kind)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            values = (getattr(row, name) for name in names)
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values])
    return path
