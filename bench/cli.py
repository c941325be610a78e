"""`python -m bench`: run sweeps, export their records, draw their reports, check their progress.

Exit codes: 0 done (a cell may be `noisy`), 1 some cell failed or is `implausible`, `compare` found something slower or
broken, or something stopped the command (a full or read-only disk, another run, a record that cannot be read), 2 the
sweep or the command line is wrong, 3 `compare` could judge nothing, 130 interrupted, 143 SIGTERM.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench import completion
from bench.ablation.command import ablation, thin_sweep
from bench.claims.command import claims, render_all
from bench.command_line import command_line, for_people
from bench.page.command import explore
from bench.paper.command import paper
from bench.share.command import share_results
from bench.study.command import app as study
from bench.understanding.command import understand

if TYPE_CHECKING:
    from bench.sweep.cells import Cell
    from bench.sweep.config import SweepConfig

app = typer.Typer(
    help="Measure speed and quality of reduced Audio Spectrogram Transformers.",
    epilog="Exit codes: 0 done, 1 a cell failed, compare found something slower or broken, or something stopped the "
    "command, 2 the sweep or the command line is wrong, 3 compare could judge nothing, 130 interrupted.",
    add_completion=False,  # the command `completion` prints a script that handles `python -m`
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

app.add_typer(study, name="study")
app.command()(claims)
app.command()(ablation)
app.command("thin")(thin_sweep)
app.command("render")(render_all)
app.command("page")(explore)
app.command("share")(share_results)
app.command()(paper)
app.command()(understand)

SweepArgument = Annotated[
    str,
    typer.Argument(
        help="A TOML file, or the name of one in bench/sweeps, such as default.", autocompletion=completion.sweep_names
    ),
]
SweepSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Override a value of the sweep, in TOML, such as grid.r=[4]; repeatable.",
    ),
]
ResultsOption = Annotated[Path, typer.Option(help="Root folder of results; the published ones are in results.")]
Shell = Literal["bash", "zsh"]
Keep = Literal["ours", "theirs", "newer"]
RESULTS, REPORTS = Path("build/results"), Path("build/reports")
"""Default output folders. Published records are copied to `results`, and their reports rendered to `reports`."""


@app.command()
def run(
    sweep: SweepArgument,
    overrides: SweepSetOption = None,
    results: ResultsOption = RESULTS,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for clips and features. Not given: FASTAST_CACHE, or your cache folder.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Start only cells that are expected to end within this many minutes; print those left."),
    ] = None,
    redo: Annotated[bool, typer.Option("--redo", help="Also measure cells again that have a record.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also measure cells again whose record is not ok.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the cells and stop.")] = False,
    reports: Annotated[Path | None, typer.Option(help="Draw the report into this folder when done.")] = None,
    launcher: Annotated[
        str,
        typer.Option(
            metavar="local|ray|slurm",
            help="Where cells run: here, on Ray, or on Slurm.",
            autocompletion=completion.launcher_names,
        ),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(help="Ray: a cluster's address, or auto. Not given: RAY_ADDRESS, or a Ray that is started here."),
    ] = None,
    ray_resource: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE=NAME", help="Ray: only nodes with this resource get the device's cells; repeatable."
        ),
    ] = None,
    ray_wait: Annotated[
        float | None,
        typer.Option(
            min=0, help="Ray: end the run when a device has had no node for this many seconds. Not given: 600."
        ),
    ] = None,
    slurm_config: Annotated[
        Path | None, typer.Option(help="Slurm: a TOML file with the partition and resources of each device.")
    ] = None,
) -> None:
    """Measure every cell of a sweep that has no record yet. After an interruption, the same command resumes."""
    with for_people(), ExitStack() as stack:
        from bench.run.launchers.choose import choose_launcher

        place = stack.enter_context(
            choose_launcher(
                launcher,
                cache=cache,
                ray_address=ray_address,
                ray_resources=tuple(ray_resource or ()),
                ray_wait_s=ray_wait,
                slurm_config=slurm_config,
                minutes=minutes,
            )
        )
        from bench.run.driver import Options, run_sweep
        from bench.run.progress import Progress
        from bench.run.settled import keep_in_mind, settled
        from bench.sweep.file import find_sweep
        from bench.sweep.listing import place_of
        from fastast.data.soundscapes.cache import default_folder

        options = Options(
            results=results,
            cache=cache or default_folder(),
            redo=redo,
            retry_failed=retry_failed,
            command=command_line(sys.argv[1:]),
        )
        path, here = find_sweep(sweep), launcher == "local"
        with Progress() as progress:
            found = settled(path, overrides or (), options, progress) if here and not (redo or dry_run) else None
            if found is None:
                listed = place_of(path, overrides or ())
                config, cells = _cells(sweep, overrides, place.resolve, here=here)
                if dry_run:
                    _list(cells)
                    return
                summary = run_sweep(config.name, cells, options, progress=progress, launcher=place)
                if here:
                    keep_in_mind(path, overrides or (), config, cells, summary, listed)
                found = config.name, summary
        name, summary = found
        for cell in summary.left:
            typer.echo(f"left: {cell.id}  {cell.title}")
        typer.echo(str(summary))
        if reports is not None:
            from bench.report import render

            typer.echo(f"report: {render(results, reports, sweep=name)[-1]}")
        if summary.failed:
            raise typer.Exit(1)


@app.command()
def status(sweep: SweepArgument, overrides: SweepSetOption = None, results: ResultsOption = RESULTS) -> None:
    """Print how many cells of a sweep are done, failed and left, on every machine that has records of it."""
    with for_people():
        from bench.run.status import status_lines
        from bench.sweep.engines import ANY
        from bench.sweep.file import find_sweep
        from bench.sweep.listing import listing_of, place_of, remember, remembered

        path = find_sweep(sweep)
        listing = remembered(path, overrides or ())
        if listing is None:
            place = place_of(path, overrides or ())
            config, cells = _cells(sweep, overrides, lambda device: device if device == "cpu" else ANY)
            listing = listing_of(config, cells)
            remember(path, overrides or (), listing, place)
        for line in status_lines(listing.name, listing.cells, results):
            typer.echo(line)


@app.command()
def export(
    results: ResultsOption = RESULTS,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The CSV file to write. Not given: cells.csv in --results.")
    ] = None,
) -> None:
    """Write a CSV file with one row for every record below a folder."""
    with for_people():
        from bench.records.store import record_paths
        from bench.records.table import write_rows
        from bench.sweep.complaints import ConfigError

        if not any(record_paths(results)):
            raise ConfigError([f"{results}: no records below this folder; nothing was written"])
        out = out or results / "cells.csv"
        typer.echo(f"{write_rows(results, out)} records written to {out}")


@app.command()
def gather(
    sources: Annotated[list[Path], typer.Argument(help="Folders of results, or of one machine or sweep in them.")],
    into: Annotated[Path, typer.Option(help="Root folder of results to gather into.")] = RESULTS,
    keep: Annotated[
        Keep | None, typer.Option(help="Which record to keep if two of the same cell and machine differ.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
) -> None:
    """Copy the records of other machines into one folder of results. A different record is replaced only by --keep."""
    with for_people():
        from bench.records.gather import gather_results

        result = gather_results(sources, into, keep=keep, dry_run=dry_run)
        for line in result.lines():
            typer.echo(line)


@app.command("merge", hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def merge_is_gather_now() -> None:
    """Print the new name of the command."""
    typer.echo("bench: merge is now called gather: python -m bench gather SOURCES... --into RESULTS", err=True)
    raise typer.Exit(2)


@app.command()
def report(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")] = "default",
    results: ResultsOption = RESULTS,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = REPORTS,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="Format of the figures: pdf, svg, png; repeatable.")
    ] = None,
    width: Annotated[
        str, typer.Option(metavar="single|double", help="Width of the figures, in columns of a paper.")
    ] = "double",
    readme: Annotated[Path | None, typer.Option(help="A README whose results section is replaced.")] = None,
) -> None:
    """Draw figures and tables from the records of a sweep."""
    with for_people():
        from bench.report import render as render_report

        chosen = tuple(formats or ("pdf", "svg", "png"))
        for path in render_report(results, out, sweep=sweep, formats=chosen, width=width):
            typer.echo(path)
        if readme is not None:
            from bench.report.readme import update_readme

            update_readme(readme, out / sweep, sweep=sweep)


@app.command()
def profile(
    sweep: SweepArgument,
    cell: Annotated[
        str | None,
        typer.Argument(
            help="ID of a performance cell, or a prefix of one.",
            autocompletion=lambda ctx, incomplete: completion.cell_ids(ctx.params["sweep"], incomplete),
        ),
    ] = None,
    overrides: SweepSetOption = None,
    r: Annotated[
        int | None, typer.Option("--r", help="Profile cells that remove this many tokens per block; 0: unmerged.")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Profile cells with this schedule: constant, or constant:40.")
    ] = None,
    forwards: Annotated[int, typer.Option(min=1, help="Number of forwards to profile.")] = 10,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for traces and tables.")] = Path("build/profiles"),
) -> None:
    """Show where a cell's time goes: traces for TensorBoard and Perfetto, CSV tables by operator and block."""
    with for_people():
        config, cells = _cells(sweep, overrides, here=True)
        from bench.profiling.select import select_cells
        from bench.profiling.show import profile_cells

        profile_cells(select_cells(cells, cell, r=r, schedule=schedule), out / config.name, forwards=forwards)


@app.command()
def gpu(
    minutes: Annotated[float, typer.Option(help="Minutes for all steps together.")] = 10,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for records, profiles and logs; the archive goes next to it.")
    ] = Path("build/gpu"),
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run the steps without a GPU: on stand-ins and in Triton's interpreter.")
    ] = False,
) -> None:
    """Test, measure and profile the engine on a GPU, most telling steps first; archive the records and logs."""
    with for_people():
        from bench.gpu.session import archive_of, run_session
        from bench.gpu.steps import gpu_steps
        from bench.measure.machine import resolve_device
        from bench.run.driver import end_on_sigterm

        if not rehearse:
            resolve_device("cuda")
        folder = out.resolve()
        with end_on_sigterm():
            ends = run_session(
                gpu_steps(folder, rehearse=rehearse), folder, minutes, rehearsal=rehearse, say=typer.echo
            )
        typer.echo(f"archive: {archive_of(out)}")
        if any(end.status in ("failed", "timeout") for end in ends):
            raise typer.Exit(1)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A folder of results, or a git revision.")],
    b: Annotated[str, typer.Argument(help="The other folder or revision, judged against the first.")],
    relative_to: Annotated[
        str | None,
        typer.Option(
            help="Folders: judge only ratios to this arm of the same rounds (unmerged, slice), or, with none, only "
            "times. Not given: both times and ratios to unmerged, which must agree."
        ),
    ] = None,
    allow_different_machines: Annotated[
        bool, typer.Option("--allow-different-machines", help="Folders: compare two machines; every row says so.")
    ] = False,
    cell: Annotated[
        list[str] | None,
        typer.Option(help="Revisions: tokens removed per block and clips per batch, such as r40-batch1; repeatable."),
    ] = None,
    launches: Annotated[
        int | None, typer.Option(min=1, help="Revisions: pairs of processes, each one sample. Not given: 8.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Revisions: rounds per pair of processes. Not given: 4.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Revisions: PyTorch threads. Not given: 1.")] = None,
    device: Annotated[str | None, typer.Option(help="Revisions: cpu, cuda, auto. Not given: cpu.")] = None,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Largest Holm-corrected p-value that counts.")] = 0.002,
    threshold: Annotated[float, typer.Option(min=0, help="Smallest difference that counts; 0.03 is 3 %.")] = 0.03,
    csv: Annotated[Path | None, typer.Option(help="Also write the table to this CSV file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the table to this Markdown file.")] = None,
) -> None:
    """Judge, cell by cell, whether B is slower than A.

    Exit code 1 if a cell is slower or failed only in B, 2 if they cannot be compared, 3 if no cell could be judged.
    """
    with for_people():
        from bench.compare.command import CompareOptions, run_compare

        options = CompareOptions(
            relative_to=relative_to,
            allow_different_machines=allow_different_machines,
            cells=tuple(cell or ()),
            launches=launches,
            rounds=rounds,
            threads=threads,
            device=device,
            alpha=alpha,
            threshold=threshold,
            csv=csv,
            markdown=markdown,
        )
        if code := run_compare(a, b, options):
            raise typer.Exit(code)


@app.command("completion")
def show_completion(shell: Annotated[Shell, typer.Argument(help="bash or zsh.")]) -> None:
    """Print the script that completes these commands: `eval "$(python -m bench completion bash)"`."""
    typer.echo(completion.SCRIPTS[shell], nl=False)


def _list(cells: Sequence[Cell]) -> None:
    typer.echo("\n".join(f"{cell.id}  {cell.title}" for cell in cells))
    kinds = Counter(cell.kind for cell in cells)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    typer.echo(f"{len(cells)} cells: {listed}")


def _cells(
    sweep: str, overrides: list[str] | None, resolve: Callable[[str], str] | None = None, *, here: bool = False
) -> tuple[SweepConfig, tuple[Cell, ...]]:
    from bench.sweep.file import find_sweep, load_sweep

    path = find_sweep(sweep)
    config = load_sweep(path, overrides or ())
    from bench.sweep.expansion import expand

    cells = expand(config, str(path), **({} if resolve is None else {"resolve": resolve}))
    if here:
        from bench.sweep.machine_limits import check_machine

        check_machine(config, cells, str(path))
    return config, cells
