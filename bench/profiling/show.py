"""Profile cells, write their tables and print summaries."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.profiling.by_stage import KernelRow, StageRow
from bench.profiling.figure import shares_figure
from bench.profiling.files import write_tables
from bench.profiling.tables import Profile, SummaryRow
from bench.report.drawing.files import write_figures
from bench.run.isolation import Isolation
from bench.sweep.cells import Cell

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LONGEST = 15
"""Number of kernels that are printed; `kernels.csv` lists all."""


def profile_cells(
    cells: Sequence[Cell],
    out: Path,
    *,
    forwards: int,
    console: Console | None = None,
    isolation: Isolation | None = None,
) -> list[Path]:
    """Profile cells one at a time, each in its own process, and return their folders inside `out`.

    Raises OSError before anything runs if a folder is not writable, and RuntimeError if a cell fails.
    """
    from rich.console import Console

    console = console or Console(highlight=False)
    folders = [out / f"{cell.id}-{cell.device}" for cell in cells]
    for folder in folders:
        check_writable(folder)
    console.print("Loading PyTorch ...")
    isolation = isolation or Isolation()
    for cell, folder in zip(cells, folders, strict=True):
        console.print(f"{cell.id}  {cell.title}")
        outcome = isolation.run(
            "bench.profiling.capture:profile_cell", cell, folder, forwards, time_limit=cell.measure.time_limit_s
        )
        if outcome.status != "ok":
            hint = "; give fewer --forwards, or -s measure.time_limit_s=SECONDS" if outcome.status == "timeout" else ""
            raise RuntimeError(f"cell {cell.id}: {outcome.status}: {outcome.message}{hint}")
        write_tables(folder, outcome.value)
        drawn = write_figures({"shares": partial(shares_figure, outcome.value)}, folder)
        _print(console, outcome.value)
        for reason in drawn.reasons.values():
            console.print(f"no figure: {reason}", soft_wrap=True)
        console.print(f"traces, tables and figure: {folder}", soft_wrap=True)
    console.print(f"To look at them: python -m tensorboard.main --logdir {out}, tab PyTorch Profiler;", soft_wrap=True)
    console.print("or open a .pt.trace.json in https://ui.perfetto.dev or chrome://tracing", soft_wrap=True)
    return folders


def check_writable(folder: Path) -> None:
    """Create `folder`; raise OSError with a remedy if files cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise OSError(f"{folder}: cannot be written: {reason}; give another folder with --out") from None


def _print(console: Console, profiles: Sequence[Profile]) -> None:
    for note in dict.fromkeys(profile.note for profile in profiles if profile.note):
        console.print(f"Note: {note}", soft_wrap=True)
    for profile in profiles:
        row = profile.summary[-1]  # on a GPU its kernels are what matters
        if row.ran != "plain":
            console.print(_stage_table(profile, row.device))
        if row.arm == "candidate":
            console.print(_block_table(profile, row.device))
        if row.ran != "plain" and profile.kernels:
            console.print(_kernel_table(profile))
        console.print(sentence(row), soft_wrap=True)


def _stage_table(profile: Profile, device: str) -> Table:
    rows = [row for row in profile.stages if row.device == device]
    floors = any(row.floor_ms is not None for row in rows)
    table = _table(f"{profile.arm}: {_what(device)} by stage", _columns(floors), first="stage")
    for row in rows:
        calls = f"{row.calls:.0f}" if row.calls else ""
        table.add_row(row.stage, calls, f"{row.ms:.3f}", percent(row.share), *_floor(row, floors))
    return table


def _columns(floors: bool) -> tuple[str, ...]:
    return ("calls", "ms", "share", *(("floor, ms", "of floor") if floors else ()))


def _floor(row: StageRow | KernelRow, floors: bool) -> tuple[str, ...]:
    """Return a row's floor and its time as a multiple of it, if the table has these columns."""
    if not floors:
        return ()
    return ("", "") if row.floor_ms is None else (f"{row.floor_ms:.3f}", f"{row.ms / row.floor_ms:.2f}")


def _kernel_table(profile: Profile) -> Table:
    """Return a table of the slowest kernels of the graph, which cells time, or of the eager forward without one."""
    ran = profile.kernels[-1].ran
    rows = [row for row in profile.kernels if row.ran == ran]
    how = "in the replayed graph" if ran == "graph" else "launched one by one"
    floors = any(row.floor_ms is not None for row in rows)
    table = _table(f"{profile.arm}: kernels {how}", _columns(floors), first="kernel")
    for row in rows[:LONGEST]:
        table.add_row(row.name[:60], f"{row.calls:.0f}", f"{row.ms:.3f}", percent(row.share), *_floor(row, floors))
    if len(rows) > LONGEST:
        others = rows[LONGEST:]
        calls, ms = sum(row.calls for row in others), sum(row.ms for row in others)
        table.add_row(f"{len(others)} more", f"{calls:.0f}", f"{ms:.3f}", percent(sum(row.share for row in others)))
    return table


def _table(title: str, columns: Sequence[str], *, first: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", collapse_padding=True, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _what(device: str) -> str:
    return "time on the CPU" if device == "cpu" else "CUDA kernels"


def percent(share: float | None) -> str:
    """Return a share as a percentage, or a dash if there is none."""
    return "–" if share is None else f"{share:.1%}"


def _block_table(profile: Profile, device: str) -> Table:
    names = ("tokens", "attention", "plan", "merge", "MLP", "other", "total", "merging")
    table = _table(f"{profile.arm}: {_what(device)}, ms per forward", names, first="block")
    for row in profile.blocks:
        if row.device != device:
            continue
        times = (row.attention_ms, row.plan_ms, row.merge_ms, row.mlp_ms, row.other_ms, row.total_ms)
        tokens = f"{row.tokens_in} → {row.tokens_out}"
        table.add_row(str(row.block), tokens, *(f"{value:.2f}" for value in times), percent(row.merging_share))
    return table


def sentence(row: SummaryRow) -> str:
    """Return the summary of an arm as a sentence."""
    where = "on the CPU" if row.device == "cpu" else "in CUDA kernels"
    parts = [f"{row.arm}: a forward of {row.batch_size} takes {row.forward_ms:.2f} ms {where}"]
    if row.merging_ms and row.merging_share is not None:
        merging = f"merging is {percent(row.merging_share)} of the blocks"
        if row.ran == "triton":
            merging = (
                f"merging is {percent(row.plan_share)} to {percent(row.merging_share)} of the blocks: it is without "
                "and with the kernel that averages tokens and also adds the residual and normalises"
            )
        low, high = percent(row.merging_share_low), percent(row.merging_share_high)
        which = "with it " if row.ran == "triton" else ""
        parts.append(f"{merging} ({which}{low} to {high} in single forwards, pauses included)")
    interval = f"[{row.overhead_low:.2f}, {row.overhead_high:.2f}]"
    parts.append(f"the profiler makes it {row.profiler_overhead:.2f} times {interval} as long")
    return "; ".join(parts)
