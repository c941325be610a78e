"""Shared by all commands: messages for people in place of tracebacks, and the command line as records keep it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

from fastast.commands.people import warnings_in_a_line

HARNESS = ("jinja2", "pandas", "plotly", "pydantic", "pydantic_core", "pytest_benchmark", "seaborn", "tensorboard")
"""Import names of the packages that the extra `bench` installs."""


@contextmanager
def for_people() -> Iterator[None]:
    """Turn errors that the user can fix into one message and an exit code."""
    try:
        from bench.sweep.complaints import ConfigError  # imported late: it needs pydantic, and completion must be fast
    except ModuleNotFoundError as error:
        _say_what_is_missing(error)

    try:
        with warnings_in_a_line():
            yield
    except (typer.Exit, typer.Abort):  # RuntimeErrors too, but with exit codes of their own
        raise
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except ModuleNotFoundError as error:
        _say_what_is_missing(error)
    except KeyboardInterrupt:
        typer.echo("interrupted: what was measured is kept; the same command resumes from there", err=True)
        raise typer.Exit(130) from None
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        # RunError, RecordError, a full disk: none of them loses a record that was written.
        typer.echo(f"bench: {error}", err=True)
        raise typer.Exit(1) from None


def _say_what_is_missing(error: ModuleNotFoundError) -> NoReturn:
    """End the command where a package of the harness is not installed; any other missing module is a bug and raised."""
    if str(error.name).partition(".")[0] not in HARNESS:
        raise error
    typer.echo(
        f"bench: {error.name} is not installed; install the harness's packages, in the repository: "
        "pip install -e '.[bench]'",
        err=True,
    )
    raise typer.Exit(1) from None


def command_line(arguments: list[str]) -> tuple[str, ...]:
    """Return the command as records keep it, absolute paths cut to their last part."""
    shown = []
    for argument in arguments:
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        shown.append(option + equals + (Path(value).name if Path(value).is_absolute() else value))
    return ("python", "-m", "bench", *shown)
