"""What all commands share: messages for people in place of tracebacks, and the command as records tell it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

from fastast.commands.people import warnings_in_a_line

HARNESS = ("jinja2", "pandas", "plotly", "pydantic", "pydantic_core", "pytest_benchmark", "seaborn", "tensorboard")
"""What the extra `bench` installs, as it is imported."""


@contextmanager
def for_people() -> Iterator[None]:
    """Turn what is the user's to mend into one message and an exit code."""
    try:
        from bench.sweep.complaints import ConfigError  # late: it takes pydantic, and completion must be quick
    except ModuleNotFoundError as error:
        _say_what_is_missing(error)

    try:
        with warnings_in_a_line():
            yield
    except (typer.Exit, typer.Abort):  # RuntimeErrors too, but each has its exit code already
        raise
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except ModuleNotFoundError as error:
        _say_what_is_missing(error)
    except KeyboardInterrupt:
        typer.echo("interrupted: what was measured is kept; the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        # RunError, RecordError, a full disk: none of them loses a record that was written.
        typer.echo(f"bench: {error}", err=True)
        raise typer.Exit(1) from None


def _say_what_is_missing(error: ModuleNotFoundError) -> NoReturn:
    """End the command where a package of the harness is not installed; any other module that is missing is a bug."""
    if str(error.name).partition(".")[0] not in HARNESS:
        raise error
    typer.echo(
        f"bench: {error.name} is not installed; install what the harness takes, in the repository: "
        "pip install -e '.[bench]'",
        err=True,
    )
    raise typer.Exit(1) from None


def command_line(arguments: list[str]) -> tuple[str, ...]:
    """Return the command as it is recorded: of an absolute path only the name."""
    shown = []
    for argument in arguments:
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        shown.append(option + equals + (Path(value).name if Path(value).is_absolute() else value))
    return ("python", "-m", "bench", *shown)
