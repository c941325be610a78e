"""Scopes: how a profiler sees the parts of a forward pass, which itself knows nothing about profilers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Scope = Callable[[int, str], AbstractContextManager[Any]]
"""Called with the index of a block, from 0, or OUTSIDE, and the name of a part ("" for a whole block); the part runs in
the context that it returns."""

OUTSIDE = -1
"""Stands for the index of a block where a part is in none."""

_NOTHING: AbstractContextManager[Any] = nullcontext()


def unwatched(block: int, part: str) -> AbstractContextManager[Any]:
    """Return an empty context, for parts that nobody watches."""
    return _NOTHING
