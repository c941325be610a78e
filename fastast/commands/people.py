"""Shared by all commands: one-line messages instead of tracebacks, and the setup of the process."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

_OURS = ("CheckpointWarning", "DataWarning", "AudioWarning")
"""Names of FastAST's warning classes, since importing the classes needs PyTorch."""


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn the package's own errors into one line on stderr and exit code 1, and its warnings into one line each."""
    try:
        with warnings_in_a_line():
            yield
    except ModuleNotFoundError:
        raise
    except (ValueError, OSError, ImportError) as error:  # ImportError: the registry reports a broken plug-in
        say_error(error)
        raise typer.Exit(1) from None


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Print warnings about checkpoints, data sets and audio as one line each, and all others as usual."""
    with warnings.catch_warnings():
        warnings.showwarning = _show(warnings.showwarning)
        yield


def _show(usual: Callable[..., None]) -> Callable[..., None]:
    """Return a `showwarning` that prints FastAST's own warnings as one line, and passes all others to `usual`."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__name__ in _OURS:
            say_error(str(message))
        else:
            usual(message, category, *where, **more)

    return show


def say_error(error: Exception | str) -> None:
    """Print a message on stderr, after flushing stdout so that the order of the output is kept."""
    sys.stdout.flush()
    typer.echo(f"fastast: {error}", err=True)


def set_up_process() -> None:
    """Set up this process for computing; call it before PyTorch is imported, as how threads wait is read then."""
    from fastast.system.runtime import set_up

    set_up()
