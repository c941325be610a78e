"""What a reader must know about the numbers of a group of alternatives: machine, workload, weights, data, software."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.records.schema import Record
from bench.records.store import to_frame
from bench.report.frame import MEASURED
from bench.report.words import cell_batch_words, engine_words, facts_line, scope_words


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Two lines for footnotes of figures and captions of tables."""

    where: str
    """Machine, number format and, if anything was timed, batch size, engine and scope."""
    about: str
    """Weights, data, clips, version of PyTorch, and kind of intervals."""


def facts_of(name: str, records: Sequence[Record]) -> Provenance:
    """Return the facts on records with one machine, weights and engine. `name`: machine and number format."""
    rows = to_frame(records)
    rows = rows[rows["status"].isin(MEASURED)]
    scored = rows.assign(score=rows["mAP"].fillna(rows["accuracy"]))
    scored["score_name"] = (scored["task"] == "single_label").map({True: "accuracy", False: "mAP"})
    scored.loc[scored["score"].isna(), "score_name"] = None
    timed = rows[rows["kind"] == "performance"]
    if timed.empty:
        return Provenance(where=name, about=f"{facts_line(scored)}.")
    first = timed.iloc[0]
    batch = cell_batch_words(first)
    engine = "" if f", {first['engine']}" in name else engine_words(timed.assign(shared_engine=timed["engine"]))
    return Provenance(where=f"{name}, {batch}{engine}{scope_words(first)}", about=f"{facts_line(scored)}.")
