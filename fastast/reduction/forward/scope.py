"""Scopes: how whoever watches a forward is shown its parts; the forward itself knows nothing of profilers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Scope = Callable[[int, str], AbstractContextManager[Any]]
"""Called with a block, counted from 0, or OUTSIDE, and the name of a part ("" for a whole block); the part runs in the
context that it returns."""

OUTSIDE = -1
"""Stands for the number of a block where a part is in none."""

_NOTHING: AbstractContextManager[Any] = nullcontext()


def unwatched(block: int, part: str) -> AbstractContextManager[Any]:
    """Return the context of a part that nobody watches."""
    return _NOTHING
