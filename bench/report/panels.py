"""Panels: the rows of a report that stand in one table and one plot."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.report.words import setup_name

SETTING = ["machine", "sha256", "model", "dtype", "engine"]
"""What a row shares with the unmerged model that its speed-up is over, beside what was timed and the batch size."""
PANEL = ["machine", "sha256", "model", "shared_dtype", "shared_engine", "scope", "batch_size"]
"""What all rows of a panel share."""
WORKLOAD = ["scope", "batch_size"]
"""What speeds of a panel share; quality does not depend on it."""


def panels(joined: pd.DataFrame) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Return the groups of rows that can be compared: one per machine, model, scope and batch size.

    And one per dtype and engine, except where several engines ran one model.
    """
    return list(joined.groupby(PANEL, sort=True, dropna=False))


def with_shared(joined: pd.DataFrame) -> pd.DataFrame:
    """Add the dtype and the engine that a panel shares, and to each row what it does not share, its `setup`.

    Engines are alternatives: where several ran one model on one machine they stand in one panel, whatever their dtypes.
    """
    joined = joined.assign(shared_dtype=joined["dtype"], shared_engine=joined["engine"], setup="")
    for _, group in joined.groupby(["machine", "sha256", "model", *WORKLOAD], dropna=False):
        if group["engine"].nunique() > 1:
            one_dtype = group["dtype"].nunique() == 1
            joined.loc[group.index, "shared_engine"] = ""
            joined.loc[group.index, "shared_dtype"] = group["dtype"].iloc[0] if one_dtype else ""
            joined.loc[group.index, "setup"] = group.apply(setup_name, axis=1, dtype=not one_dtype)
    return joined
