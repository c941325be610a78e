"""Panels: the rows of a report that share one table and one plot."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.report.words import setup_name

SETTING = ["machine", "sha256", "model", "dtype", "engine"]
"""Columns in which a row agrees, beside `WORKLOAD`, with the unmerged model that its speed-up is over."""
PANEL = ["machine", "sha256", "model", "shared_dtype", "shared_engine", "scope", "batch_size"]
"""Columns in which all rows of a panel agree."""
WORKLOAD = ["scope", "batch_size"]
"""Columns in which the speeds of a panel agree, and on which quality does not depend."""


def panels(joined: pd.DataFrame) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Return the groups of rows that can be compared: one per machine, model, scope and batch size.

    Dtypes and engines have groups of their own too, except where several engines ran one model.
    """
    return list(joined.groupby(PANEL, sort=True, dropna=False))


def with_shared(joined: pd.DataFrame) -> pd.DataFrame:
    """Add the dtype and the engine that a panel shares (`shared_dtype`, `shared_engine`), and every row's `setup`.

    Engines are alternatives: several that ran one model on one machine share a panel, whatever their dtypes, and
    `setup` names that of each row.
    """
    joined = joined.assign(shared_dtype=joined["dtype"], shared_engine=joined["engine"], setup="")
    for _, group in joined.groupby(["machine", "sha256", "model", *WORKLOAD], dropna=False):
        if group["engine"].nunique() > 1:
            one_dtype = group["dtype"].nunique() == 1
            joined.loc[group.index, "shared_engine"] = ""
            joined.loc[group.index, "shared_dtype"] = group["dtype"].iloc[0] if one_dtype else ""
            joined.loc[group.index, "setup"] = group.apply(setup_name, axis=1, dtype=not one_dtype)
    return joined
