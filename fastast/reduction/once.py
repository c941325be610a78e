"""`once`: functools.cached_property without the lock that it holds up to Python 3.11, which compilers cannot trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 - read as a decorator
    """A property that is computed when it is first read and then kept in the object."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, owner: Any, kind: type | None = None) -> T:
        if self._name not in owner.__dict__:
            owner.__dict__[self._name] = self._compute(owner)
        return owner.__dict__[self._name]
