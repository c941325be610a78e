"""The `fastast` command: a subcommand for each task, such as prediction, training, evaluation, export and tuning."""

from __future__ import annotations

import codecs
import io
import sys
from typing import Annotated

import typer

from fastast.commands import data, embed, export, learn_merging, listen, predict, train, tune, weights

app = typer.Typer(
    help="Faster Audio Spectrogram Transformers by token merging.",
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Faster Audio Spectrogram Transformers by token merging."""
    if isinstance(sys.stdout, io.TextIOWrapper) and codecs.lookup(sys.stdout.encoding).name == "utf-8":
        sys.stdout.reconfigure(errors="surrogateescape")  # file names need not be UTF-8; stderr escapes them
    if version:
        from fastast import __version__

        typer.echo(f"fastast {__version__}")
        raise typer.Exit


for command in (
    predict.predict,
    listen.listen,
    embed.embed,
    predict.info,
    train.train,
    train.evaluate,
    train.record,
    train.summary,
    weights.average,
    weights.ensemble,
    weights.convert,
    export.export,
    tune.tune,
    learn_merging.learn_merging,
):
    app.command()(command)
app.add_typer(data.data_app, name="data")


if __name__ == "__main__":
    app()
