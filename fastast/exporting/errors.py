"""What can go wrong with an exported model."""

from __future__ import annotations

from importlib.util import find_spec


class ExportError(ValueError):
    """A model that cannot be exported, or a file that is not one of ours; the message says what to do."""


class MissingRuntimeError(ExportError):
    """A package is needed that is not installed."""


def require(*packages: str, extra: str, purpose: str) -> None:
    """Raise MissingRuntimeError, naming the extra that brings it, where a package is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise MissingRuntimeError(
                f"{purpose} needs the package {package}, which is not installed; pip install 'fastast[{extra}]'"
            )
