"""Names and sentences that figures, tables and pages share."""

from __future__ import annotations

import pandas as pd

FAMILY_NAMES = {"constant": "constant r", "decreasing": "decreasing r", "increasing": "increasing r"}


def series_name(row: pd.Series) -> str:
    """Return the name of a line of a figure: method and family of schedules, and what is unusual about it."""
    if row["method"] == "none":
        return "unmerged"
    family = FAMILY_NAMES.get(row["family"], row["family"])
    usual = (("metric", "keys", "by {}"), ("order", "tome", "{} order"))
    extras = [text.format(row[key]) for key, value, text in usual if row[key] not in (value, "")]
    if row["proportional"] is False:
        extras.append("unweighted")
    method = {"tome": "ToMe"}.get(row["method"], row["method"])
    return ", ".join([f"{method}, {family}", *extras])


def facts_line(rows: pd.DataFrame) -> str:
    """Return what a reader must know of the numbers, in one line."""
    parts = [", ".join(sorted(rows["model"].unique()))]
    quality = rows.dropna(subset=["mAP"])
    if len(quality):
        first = quality.iloc[0]
        clips = ", ".join(f"{count:.0f}" for count in sorted(quality["clips"].unique()))
        parts.append(
            f"mAP on {clips} clips of {first['dataset']} {first['split']} (synthetic scenes of real recordings)"
        )
    parts.append("PyTorch " + ", ".join(sorted(rows["torch"].dropna().unique())))
    return "; ".join(parts) + "; intervals are 95 % bootstrap"
