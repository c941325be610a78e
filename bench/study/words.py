"""Sentences in which figures and tables of a study explain their numbers."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import pandas as pd

_MEMORY = "the most that the process of a training held, validations and libraries included."


@dataclass(frozen=True, kw_only=True)
class TableWords:
    """Notes on tables; those on a column appear only with it."""

    scores: str
    """What mAP was measured on."""
    speed: str = ""
    """What speed-ups of a forward are."""
    clips: str = ""
    """What its throughput is."""
    training: str = ""
    """What times of training are."""
    speeds: str = ""
    """Where both were measured."""

    def of(self, rows: pd.DataFrame, columns: Container[str], *, narrow: bool = False) -> str:
        """Return all notes for rows and columns.

        narrow: whether the table is one in which the ends of intervals are below and above them, and heads are units.
        """
        ends = ", their ends below and above" * narrow
        held = f"; differences{_of_means(rows)}, with their 95 % interval over {chance_words(rows)}{ends}"
        training, memory = ("s/1k (training)", "MiB (memory)") if narrow else ("Training", "Memory")
        speed = "; ".join(filter(None, [self.speed, self.clips if "clips" in columns else ""]))
        sentences = (
            f"{self.scores}{_of_seeds(rows)}{held if rows['delta'].notna().any() else ''}.",
            f"{speed}." if self.speed and "speedup" in columns else "",
            f"{training}: {self.training}." if self.training and "training" in columns else "",
            self.speeds if "speedup" in columns or "training" in columns else "",
            f"{memory}: {_MEMORY}" if "peak_memory_mib" in columns else "",
        )
        return " ".join(filter(None, sentences))


def _of_seeds(rows: pd.DataFrame) -> str:
    return ", mean ± standard deviation over the seeds" if rows["seeds"].max() > 1 else ""


def _of_means(rows: pd.DataFrame) -> str:
    several = rows[["delta_seeds", "against_seeds"]].max(axis=None) > 1
    means = "these means" if _of_seeds(rows) else "means over the seeds"
    return f" of {means}, seed by seed where both sides have the same seeds" if several else ""


def chance_words(rows: pd.DataFrame) -> str:
    """Return which chance the intervals of differences include; that in training only if there are several seeds."""
    held = rows[rows["delta"].notna()]
    known = len(held) and held["recordings"].astype(bool).all()
    several = held[["delta_seeds", "against_seeds"]].max(axis=1) > 1
    if not several.any():
        return "clips and recordings of one seed" if known else "clips of one seed"
    all_of_it = "seeds, clips and recordings" if known else "seeds and clips"
    alone = "clips and recordings" if known else "clips"
    return all_of_it if several.all() else f"{all_of_it}, or {alone} alone where both sides have one seed"


def mean_words(seeds: int) -> str:
    """Return what the points of a figure are; `seeds`: the most seeds of any arm."""
    return "Points: mean over the seeds" if seeds > 1 else "Points: of one seed each"


def points_words(seeds: int, spread: str = "bars") -> str:
    """Return what the points of a figure are, and its bars or bands; `seeds`: the most seeds of any arm."""
    return mean_words(seeds) + (f"; {spread}: lowest to highest seed" if seeds > 1 else "")
