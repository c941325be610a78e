"""What all commands share: messages for people in place of tracebacks, and how the process is set up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn the package's own errors into one line on stderr and exit code 1."""
    try:
        yield
    except ModuleNotFoundError:
        raise
    except (ValueError, OSError, ImportError) as error:  # of the registry: what an installed package offers is broken
        say_error(error)
        raise typer.Exit(1) from None


def say_error(error: Exception | str) -> None:
    """Print a message on stderr, behind what was printed before."""
    sys.stdout.flush()
    typer.echo(f"fastast: {error}", err=True)


def set_up_process() -> None:
    """Set this process up to compute, before PyTorch is imported: how threads wait is read then."""
    from fastast.runtime import set_up

    set_up()
