"""What all commands share: messages for people in place of tracebacks, and how the process is set up."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

_OURS = ("CheckpointWarning", "DataWarning", "AudioWarning")
"""By name: importing them takes PyTorch."""


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn the package's own errors into one line on stderr and exit code 1, and what it takes for granted into one."""
    try:
        with warnings_in_a_line():
            yield
    except ModuleNotFoundError:
        raise
    except (ValueError, OSError, ImportError) as error:  # of the registry: what an installed package offers is broken
        say_error(error)
        raise typer.Exit(1) from None


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Print what is said of checkpoints, data sets and sound as one line each, and other warnings as before."""
    with warnings.catch_warnings():
        warnings.showwarning = _show(warnings.showwarning)
        yield


def _show(usual: Callable[..., None]) -> Callable[..., None]:
    """Return what prints FastAST's words on these as one line, and other warnings as before."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__name__ in _OURS:
            say_error(str(message))
        else:
            usual(message, category, *where, **more)

    return show


def say_error(error: Exception | str) -> None:
    """Print a message on stderr, behind what was printed before."""
    sys.stdout.flush()
    typer.echo(f"fastast: {error}", err=True)


def set_up_process() -> None:
    """Set this process up to compute, before PyTorch is imported: how threads wait is read then."""
    from fastast.system.runtime import set_up

    set_up()
