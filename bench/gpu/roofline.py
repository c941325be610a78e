"""The roofline of every kernel, as tables in `docs/kernels.md`.

`python -m bench.gpu.roofline` writes them between the page's two marks, and also writes `reports/counted.csv`, from
which `python -m bench claims` takes the numbers of the page's sentences. Given a file with what
`tests.fastast.kernels.ahead_of_time` printed for the kernels of `roofline_cases.py`, it first updates what those
compile to.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.gpu.compiled import COMPILED, MODEL, compiled_facts, instructions_of
from bench.gpu.counted import COUNTED, counted_csv
from bench.gpu.parts import KernelPart, forward_parts
from bench.gpu.peaks import H100_SXM, MEASURED_MATRIX, NEAR, Peaks
from bench.marks import around_marks
from bench.report.tables.markdown import markdown_table
from fastast.commands.describe import model_geometry

PAGE = Path(__file__).parents[2] / "docs" / "kernels.md"
MARKS = ("<!-- roofline: written by python -m bench.gpu.roofline -->", "<!-- end of roofline -->")
BATCHES, REMOVALS = (64, 1), (0, 40, 80)
H100_MEASURED = replace(H100_SXM, name="H100, products as measured", matrix=MEASURED_MATRIX["H100"])
_UNITS = {"bytes": "memory", "matrix": "matrix", "exponentials": "exponentials", "other": "other"}


def kernel_floors(parts: Sequence[KernelPart], peaks: Peaks) -> tuple[dict[str, float], dict[str, float]]:
    """Return the least seconds in a forward of each stage, and of each device function that is one of our kernels."""
    stages: dict[str, float] = {}
    kernels: dict[str, float] = {}
    for part in parts:
        least = part.work.floor(peaks)
        stages[part.stage] = stages.get(part.stage, 0.0) + least
        if part.kernel:
            kernels[part.kernel] = kernels.get(part.kernel, 0.0) + least
    return stages, kernels


def binding(part: KernelPart, peaks: Peaks) -> str:
    """Return the units that limit a part, the slowest first."""
    times = part.work.seconds(peaks)
    most = max(times.values())
    near = sorted((unit for unit in times if times[unit] >= NEAR * most), key=lambda unit: -times[unit])
    return ", ".join(_UNITS[unit] for unit in near)


def floor_table(batch: int) -> str:
    """Return the table of a batch size: one row per kernel, with its numbers for every `r` in a cell."""
    geometry = model_geometry(MODEL)
    forwards = [
        {(part.stage, part.kernel): part for part in forward_parts(geometry, (r,) * geometry.depth, batch)}
        for r in REMOVALS
    ]
    keys = dict.fromkeys(key for forward in reversed(forwards) for key in forward)  # in the order of a merged block
    head = ("kernel", "launches", "MB", "GFLOP on matrix units", "exponentials, M", "other, M", "floor, µs")
    heads = (*head, f"at {H100_MEASURED.matrix / 1e12:.0f} TFLOP/s, µs", "limited by")
    rows = []
    for stage, kernel in keys:
        found = [forward.get((stage, kernel)) for forward in forwards]
        rows.append(
            [
                f"`{kernel}`" if kernel else stage,
                _cell(found, lambda part: f"{part.calls}"),
                _cell(found, lambda part: _short(part.work.bytes / 1e6)),
                _cell(found, lambda part: _short(part.work.matrix / 1e9)),
                _cell(found, lambda part: _short(part.work.exponentials / 1e6)),
                _cell(found, lambda part: _short(part.work.other / 1e6)),
                _cell(found, lambda part: _short(part.work.floor(H100_SXM) * 1e6)),
                _cell(found, lambda part: _short(part.work.floor(H100_MEASURED) * 1e6)),
                _cell(found, lambda part: binding(part, H100_SXM)),
            ]
        )
    sums = [
        " / ".join(_short(sum(part.work.floor(peaks) for part in forward.values()) * 1e6) for forward in forwards)
        for peaks in (H100_SXM, H100_MEASURED)
    ]
    rows.append(["all, one after the other", "", "", "", "", "", *sums, ""])
    return markdown_table(heads, rows, words=range(len(heads)))


def compiled_table(facts: Mapping[str, Any]) -> str:
    """Return the table of what the kernels compile to."""
    heads = ("kernel", "batch", "programs", "threads", "registers", "shared memory, KiB", "instructions")
    rows = []
    for one in facts["kernels"]:
        rows.append(
            [
                f"`{one['kernel']}`",
                str(one["batch"]),
                f"{one['programs']:,}",
                str(32 * one["options"]["num_warps"]),
                f"{one['registers']}" + (f", {one['spill_bytes']} bytes spilled" if one["spill_bytes"] else ""),
                f"{one['shared_bytes'] / 1024:.0f}",
                instructions_text(one),
            ]
        )
    return markdown_table(heads, rows, words=range(len(heads)))


def instructions_text(one: Mapping[str, Any]) -> str:
    """Return the thread instructions per item of the kernel's work, as a table cell."""
    count, item = instructions_of(one)
    return f"{count:.1f} per {item}"


def roofline_tables() -> str:
    """Return everything between the marks."""
    facts = json.loads(COMPILED.read_text(encoding="utf-8"))
    removals = " / ".join(map(str, REMOVALS))
    parts = [f"In a cell, r = {removals}; one number where all are equal, – where there is no such launch."]
    parts += [f"**A forward of a batch of {batch}**\n\n{floor_table(batch)}" for batch in BATCHES]
    parts.append(
        f"**Compiled** for sm_90 (Triton {facts['triton']}, bfloat16, r = 40, first block that has sizes)\n\n"
        f"{compiled_table(facts)}"
    )
    return "\n\n".join(parts) + "\n"


def with_tables(page: str) -> str:
    """Return a page with the current tables between its marks. Raises ValueError for missing or repeated marks."""
    around = around_marks(page, *MARKS)
    if around is None:
        raise ValueError(f"{PAGE.name}: the tables must appear once, between {MARKS[0]} and {MARKS[1]}")
    return f"{around[0]}\n{roofline_tables()}{around[1]}"


def _cell(found: Sequence[KernelPart | None], text: Any) -> str:
    texts = ["–" if part is None else text(part) for part in found]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def _short(value: float) -> str:
    """Return a number with three digits, or rounded to a whole number from 100 on."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def main(arguments: Sequence[str]) -> None:
    """Write the tables into the page, and the numbers of its sentences into `reports/counted.csv`.

    The first argument, if any, is the file that `ahead_of_time` printed.
    """
    if arguments:
        import triton

        facts = compiled_facts(Path(arguments[0]).read_text(encoding="utf-8"), triton.__version__)
        COMPILED.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    if (new := with_tables(page)) != page:
        PAGE.write_text(new, encoding="utf-8")
    COUNTED.write_text(counted_csv(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
