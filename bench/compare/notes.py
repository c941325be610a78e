"""Notes to keep in mind about a comparison: what cells were judged by, and why some were not judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.compare.found import JUDGED, SLOWER, Row
from bench.compare.samples import COMMON, Sample
from bench.compare.statistics import samples_needed
from fastast.names import counted

Pair = tuple[str, Sample, Sample]
_NOT_JUDGED: Mapping[str, str] = {
    "broken": "worked in A and failed in B",
    "failed": "failed in A, so that nothing is judged",
    "disturbed": "were disturbed on one side: their times are not judged",
}
"""What an outcome says about its cells."""


def notes(rows: Sequence[Row], pairs: Sequence[Pair], *, alpha: float) -> tuple[str, ...]:
    """Return the notes; `pairs` are the cells with the samples of A and B, as `rows` have them."""
    said = _judged_by(rows, pairs)
    if any(row.machine.startswith("DIFFERENT") for row in rows):
        said.append("A and B are of different machines: the code is not all that differs")
    versions = {(a.software, b.software) for _, a, b in pairs if a.software != b.software}
    said += [f"PyTorch is {one} in A and {two} in B" for one, two in sorted(versions)]
    few = [row for row in rows if row.outcome == "too few samples"]
    if few:
        needed = samples_needed(sum(row.outcome not in _NOT_JUDGED for row in rows), alpha)
        kinds = "launches" if any(a.of_launches for _, a, _ in pairs) else "rounds"
        said.append(
            f"{len(few)} of {len(rows)} cells have too few {kinds} to show any difference: among so many cells, and "
            f"at an alpha of {alpha:g}, each side needs {needed}"
        )
    for outcome, words in _NOT_JUDGED.items():
        told = [
            f"{row.cell} ({b.standing})" for row, (_, _, b) in zip(rows, pairs, strict=True) if row.outcome == outcome
        ]
        if told:
            listed = f": {', '.join(told)}" if outcome == "broken" else ""
            said.append(f"{len(told)} of {len(rows)} cells {words}{listed}")
    return tuple(said)


def _judged_by(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[str]:
    said = []
    timed = [(row, a) for row, (_, a, _) in zip(rows, pairs, strict=True) if row.outcome in JUDGED]
    if both := [row for row, _ in timed if row.relative is not None]:
        usual = [
            float(np.median([one.value for one in ends]))
            for ends in ([row.ratio for row in both], [row.relative for row in both if row.relative is not None])
        ]
        said.append(
            f"{counted(len(both), 'cell')} judged by times and by ratios to {COMMON!r} of the same rounds: slower "
            f"where both say so, or times alone by more than a quarter ({SLOWER[1]!r}). A smaller slowdown "
            f"common to all arms, {COMMON!r} included, cannot be detected this way: over these cells the median of "
            f"B / A is {usual[0]:.3f} from times and {usual[1]:.3f} from ratios"
        )
    if ratios := sum(a.unit == "ratio" for _, a in timed):
        said.append(
            f"{counted(ratios, 'cell')} judged by ratios alone: a slowdown common to both arms cannot be detected"
        )
    if alone := sum(row.relative is None and a.unit != "ratio" and not a.of_launches for row, a in timed):
        said.append(
            f"{counted(alone, 'cell')} judged by times alone: rounds of one process share how fast it happened to be, "
            "which times cannot tell from the code, so that the same code can seem a few per cent slower"
        )
    if launches := sum(a.of_launches for _, a in timed):
        said.append(
            f"{counted(launches, 'cell')} judged by the medians of launches, as rounds of one process are not "
            "independent"
        )
    return said
