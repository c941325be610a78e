"""`python -m bench paper`: the paper's experiment on your own data sets and checkpoints."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.command_line import command_line, for_people
from bench.commands.options import REPORTS, RESULTS, CacheOption, MinutesOption
from fastast.names import counted

if TYPE_CHECKING:
    from bench.paper.plan import PaperPlan, PlannedSweep
    from bench.run.driver import Options, RunSummary


def paper(
    data: Annotated[Path, typer.Option(help="Folder of data sets: AudioSet, ESC-50, Speech Commands, FSD50K.")],
    checkpoints: Annotated[
        Path, typer.Option(help="Folder of checkpoints: AST's own, Hugging Face folders, FastAST's.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="Override a value of every sweep, in TOML, such as grid.r=[4]; repeatable.",
        ),
    ] = None,
    results: Annotated[Path, typer.Option(help="Root folder of results.")] = RESULTS,
    reports: Annotated[Path, typer.Option(help="Draw the reports into this folder.")] = REPORTS,
    cache: CacheOption = None,
    minutes: MinutesOption = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Measure cells again whose record is not ok.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Measure every checkpoint on the data set of its classes, as far as both are there, and draw the reports.

    Nothing is downloaded: what is missing is listed, with where its owners publish it. Every checkpoint has its own
    sweep and report. Interrupt it whenever you like: the same command resumes.
    """
    with for_people():
        from bench.paper.plan import make_plan
        from bench.run.driver import Options
        from fastast.data.soundscapes.cache import default_folder

        plan = make_plan(data, checkpoints, overrides or ())
        typer.echo(plan_text(plan))
        if dry_run:
            return
        if not plan.sweeps:
            typer.echo("nothing can be measured: no data set has a checkpoint of its classes", err=True)
            raise typer.Exit(1)
        options = Options(
            results=results,
            cache=cache or default_folder(),
            retry_failed=retry_failed,
            command=command_line(sys.argv[1:]),
        )
        summaries = _measure(plan.sweeps, options, minutes)
        typer.echo("\n".join([*_not_there(plan), *_report(plan.sweeps, results, reports)]))
        if any(summary.failed for summary in summaries):
            raise typer.Exit(1)


def plan_text(plan: PaperPlan) -> str:
    """Return what will be measured, what cannot be used, and what is missing."""
    lines = []
    for sweep in plan.sweeps:
        kinds = sorted(Counter(cell.kind for cell in sweep.cells).items())
        lines += [
            sweep.heading,
            *(f"  {note}" for note in sweep.notes),
            f"  {counted(len(sweep.cells), 'cell')}: {', '.join(f'{count} {kind}' for kind, count in kinds)}",
            f"  by itself: python -m bench run {shlex.join(sweep.arguments)}",
        ]
    lines += [*_under("not used:", plan.refused), *_not_there(plan)]
    cells = sum(len(sweep.cells) for sweep in plan.sweeps)
    return "\n".join([*lines, f"{counted(len(plan.sweeps), 'sweep')}, {counted(cells, 'cell')}"])


def _not_there(plan: PaperPlan) -> list[str]:
    """Return what is missing, which is printed again at the end, where it does not scroll away."""
    return _under("missing:", plan.missing)


def _under(title: str, entries: tuple[str, ...]) -> list[str]:
    return [title, *("  " + entry.replace("\n", "\n    ") for entry in entries)] if entries else []


def _measure(sweeps: tuple[PlannedSweep, ...], options: Options, minutes: float | None) -> list[RunSummary]:
    """Run the sweeps one after another; `minutes` is for all of them."""
    from bench.run.driver import run_sweep
    from bench.run.launchers.choose import choose_launcher
    from bench.run.progress import Progress

    summaries = []
    for sweep in sweeps:
        # A budget counts from the start of this process, so that every sweep has the time that those before it left.
        with choose_launcher("local", cache=options.cache, minutes=minutes) as place, Progress() as progress:
            summary = run_sweep(sweep.config.name, sweep.cells, options, progress=progress, launcher=place)
        summaries.append(summary)
        typer.echo(f"{sweep.config.name}: {summary}")
        for cell in summary.left:
            typer.echo(f"left: {cell.id}  {cell.title}")
    return summaries


def _report(sweeps: tuple[PlannedSweep, ...], results: Path, reports: Path) -> list[str]:
    """Draw the report of every sweep that has a record, and return lines that say where they are."""
    from bench.paper.folds import write_folds
    from bench.report import ReportError, render

    lines = []
    for sweep in sweeps:
        try:
            lines.append(f"report: {render(results, reports, sweep=sweep.config.name)[-1]}")
        except ReportError as error:
            lines.append(f"no report of {sweep.config.name}: {error}")
    families: dict[str, dict[int, str]] = {}
    for sweep in sweeps:
        if sweep.fold is not None:
            families.setdefault(sweep.family, {})[sweep.fold] = sweep.config.name
    for family, folds in families.items():
        if len(folds) > 1 and (written := write_folds(results, reports, family, folds)) is not None:
            lines.append(f"mean over folds: {written}")
    return lines
