"""Errors about exported models, and the check for optional packages."""

from __future__ import annotations

from importlib.util import find_spec


class ExportError(ValueError):
    """A model cannot be exported, or a file was not exported by FastAST; the message says what to do."""


class MissingRuntimeError(ExportError):
    """A required package is not installed."""


def require(*packages: str, extra: str, purpose: str) -> None:
    """Raise MissingRuntimeError, naming the extra to install, if any of the packages is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise MissingRuntimeError(
                f"{purpose} needs the package {package}, which is not installed; pip install 'fastast[{extra}]'"
            )
