"""`python -m bench study`: train the arms of a study, publish the results, and draw its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.command_line import for_people
from bench.study import PUBLISHED, RUNS
from fastast.names import counted

app = typer.Typer(help="Train several models with several seeds and compare the results.", no_args_is_help=True)

StudyArgument = Annotated[str, typer.Argument(help="A TOML file, or the name of one in bench/study/studies.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="Root folder of trainings, weights included.")]
PublishedOption = Annotated[Path, typer.Option("--published", help="Root folder of what is published from trainings.")]


@app.command()
def run(
    study: StudyArgument,
    arm: Annotated[list[str] | None, typer.Option(help="Only this arm; repeatable.")] = None,
    runs: RunsOption = RUNS,
    published: PublishedOption = PUBLISHED,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is left to train and stop.")] = False,
) -> None:
    """Train every arm with every seed that is neither trained nor published yet. Interrupt at any time: the same
    command resumes. A teacher that is published without its weights is trained again where they are needed."""
    with for_people():
        from bench.study.study_file import load_study
        from bench.study.trainings import missing, run_study

        wanted, arms = load_study(study), tuple(arm or ())
        if dry_run:
            left = missing(wanted, arms, runs, published)
            for one, seed in left:
                typer.echo(f"{one.name}, seed {seed}: {one.label}")
            typer.echo(f"{counted(len(left), 'training')} left")
            return
        run_study(wanted, runs, published, arms=arms, say=typer.echo)


@app.command()
def publish(study: StudyArgument, runs: RunsOption = RUNS, published: PublishedOption = PUBLISHED) -> None:
    """Copy recipe, result and log of every finished training, with bootstrap replicates; weights and scores stay."""
    with for_people():
        from bench.study.publish import publish_trainings as copy
        from bench.study.study_file import load_study

        typer.echo(f"{copy(load_study(study), runs, published, say=typer.echo)} trainings published")


@app.command()
def report(
    study: StudyArgument,
    published: PublishedOption = PUBLISHED,
    results: Annotated[Path, typer.Option(help="Root folder of records, for the speeds.")] = Path("results"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("build/reports"),
) -> None:
    """Draw figures and tables of the published trainings."""
    with for_people():
        from bench.study.report import write_study_report
        from bench.study.study_file import load_study

        for path in write_study_report(load_study(study), published, results, out, say=typer.echo):
            typer.echo(path)
