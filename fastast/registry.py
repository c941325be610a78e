"""The registry for everything that is chosen by name: methods, hosts, data sets, teachers, arms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from fastast.names import unknown_name

T = TypeVar("T")
Registered = TypeVar("Registered")


@dataclass(frozen=True, kw_only=True)
class _Lazy:
    """A value that is imported on first use."""

    where: str
    """Where to import it from, as `module:attribute`."""

    def load(self) -> object:
        module, _, attribute = self.where.partition(":")
        return getattr(import_module(module), attribute)


class Registry(Generic[T]):
    """Values by name, in the order of registration; nothing is imported before it is used.

    `what` is what messages call a value ("data set"); `lazy` maps names to `module:attribute`; `group` is the group of
    entry points through which installed packages add names; `error` is the exception for an unknown name.

    >>> optimisers = Registry("optimiser", {"adam": "torch.optim:Adam", "adamw": "torch.optim:AdamW"})
    >>> optimisers.get("adamw").__name__
    'AdamW'
    >>> optimisers.get("admw")
    Traceback (most recent call last):
    ValueError: unknown optimiser 'admw'. Did you mean 'adamw'? There are: adam, adamw
    """

    def __init__(
        self,
        what: str,
        lazy: Mapping[str, str] | None = None,
        *,
        group: str | None = None,
        error: type[ValueError] = ValueError,
    ) -> None:
        self.what = what
        self._group = group
        self._error = error
        self._entries: dict[str, object] = {name: _Lazy(where=where) for name, where in (lazy or {}).items()}

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Decorate a function or class to register it as `name`; running the same definition again replaces it."""

        def decorate(value: Registered) -> Registered:
            self.add(name, value, replace=home_of(value) == home_of(self._entries.get(name)) is not None)  # type: ignore[arg-type]
            return value

        return decorate

    def add(self, name: str, value: T, *, replace: bool = False) -> None:
        """Register a value. Raises ValueError where the name is taken, unless `replace`."""
        self._claim(name, replace)
        self._entries[name] = value

    def add_lazily(self, name: str, where: str, *, replace: bool = False) -> None:
        """Register the value at `where` (`module:attribute`), to be imported on first use; errors as for `add`."""
        self._claim(name, replace)
        self._entries[name] = _Lazy(where=where)

    def names(self) -> tuple[str, ...]:
        """Return every name: FastAST's own in the order of registration, then those of installed packages."""
        return tuple(dict.fromkeys((*self._entries, *self._installed)))

    def get(self, name: str) -> T:
        """Return the value called `name`.

        Raises `error` (a ValueError), with the nearest name, for an unknown name, and where an installed package claims
        a name that is taken; ImportError where a package's value cannot be imported.
        """
        offers = self._installed.get(name, [])
        if len(offers) + (name in self._entries) > 1:
            claims = [*(["FastAST"] if name in self._entries else []), *(_distribution(offer) for offer in offers)]
            raise self._error(
                f"the {self.what} {name!r} is offered by {' and by '.join(claims)}; uninstall or rename all but one"
            )
        if offers:
            return self._load(name, offers[0])
        if name not in self._entries:
            raise self._error(unknown_name(self.what, name, self.names()))
        value = self._entries[name]
        if isinstance(value, _Lazy):
            value = self._entries[name] = value.load()
        return value  # type: ignore[return-value]

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def _claim(self, name: str, replace: bool) -> None:
        if name in self._entries and not replace:
            raise ValueError(f"the {self.what} {name!r} is already registered")

    @cached_property
    def _installed(self) -> dict[str, list[EntryPoint]]:
        offers: dict[str, list[EntryPoint]] = {}
        for offer in entry_points(group=self._group) if self._group else ():
            offers.setdefault(offer.name, []).append(offer)
        return offers

    def _load(self, name: str, offer: EntryPoint) -> T:
        try:
            return offer.load()
        except (ImportError, AttributeError) as error:
            raise ImportError(
                f"the {self.what} {name!r} of {_distribution(offer)} ({offer.value}) cannot be imported: {error}"
            ) from error


def home_of(value: object) -> tuple[str, str] | None:
    """Return where a function or class was defined, by module and name; None for anything else."""
    if not hasattr(value, "__qualname__"):
        return None
    return (str(value.__module__), str(value.__qualname__))


def _distribution(offer: EntryPoint) -> str:
    return f"the package {offer.dist.name!r}" if offer.dist else "an installed package"
