"""Read the numbers of sweeps of alternatives from their reports, as they take minutes to compute."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from bench.records.store import record_paths
from bench.report.frame import ReportError

PREFIX = "ablation_"
"""Prefix of the names of sweeps of alternatives, which have tables of their own."""


def hash_of_records(results: Path, sweep: str) -> str:
    """Return the hash of everything that a sweep's numbers are computed from: its records and predictions."""
    digest = hashlib.sha256()
    for folder in sorted(results.glob(f"*/{sweep}")):
        for path in (*record_paths(folder), *sorted(folder.glob("predictions/*.npz"))):
            digest.update(f"{path.relative_to(results)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def published_numbers(results: Path, reports: Path, sweep: str) -> pd.DataFrame:
    """Return the numbers of a sweep's report. Raises ReportError if it is missing, or was made from other records."""
    path = reports / sweep / "ablation.csv"
    advice = "run: python -m bench render"
    if not path.is_file():
        raise ReportError(f"ablation: {path} is missing; {advice}")
    texts = dict.fromkeys(("alternative", "against", "machine", "model", "commit", "records"), str)
    numbers = {name: [""] for name in ("at", "value", "low", "high")}
    frame = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=numbers)
    if set(frame.get("records", ())) != {hash_of_records(results, sweep)}:
        raise ReportError(f"ablation: {path} was made from records other than those in {results}; {advice}")
    return frame


def has_records(results: Path, sweep: str) -> bool:
    """Return whether any record of a sweep is published."""
    return any(record_paths(folder) for folder in results.glob(f"*/{sweep}"))
