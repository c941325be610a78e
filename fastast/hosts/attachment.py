"""Attachment: a reduction attached in place to a model of another library.

The model's class becomes a subclass whose forward is the adapter's, under the same name and module, which libraries
look at. The attachment is one plain value in the instance's `__dict__`, so that copies, pickles and replicas carry it.
"""

from __future__ import annotations

import copyreg
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from fastast.reduction import ReductionError

if TYPE_CHECKING:
    from fastast.encoder import EncoderShape
    from fastast.reduction.forward.attach import AttachedReduction

_ATTRIBUTE = "_fastast_attachment"


Probe = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
"""Tokens (b, p, d) and sizes (b, p) after the blocks -> those that the head gets instead."""


class Adapter(Protocol):
    """A `Host` class: makes the adapter of a module, whose methods replace the module's."""

    @property
    def replaces(self) -> tuple[str, ...]:
        """Names of the replaced methods."""
        ...

    def __call__(self, model: Any, /) -> object:
        """Return the adapter of a module."""
        ...


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """What is attached to a module."""

    attached: AttachedReduction
    """The reduction, resolved for the model."""
    kernel: str
    """Name of the attention kernel, as in `fastast.attention`."""
    encoder: EncoderShape
    """The encoder that it was resolved for."""
    probe: Probe | None = None
    """What runs between the blocks and the head while a host is checked; None otherwise."""

    @staticmethod
    def of(module: nn.Module) -> Attachment | None:
        """Return what is attached to a module, None without an attachment."""
        return module.__dict__.get(_ATTRIBUTE)

    def put_on(self, module: nn.Module, host: Adapter) -> None:
        """Attach to a module. Raises ReductionError where a method to replace is overridden on the instance."""
        for name in host.replaces:
            if name in vars(module):
                raise ReductionError(
                    f"hosts: {name} of this {type(module).__qualname__} is overridden on the instance (by hooks of "
                    "accelerate, for example), which a reduction would not reach; load the model without device_map, "
                    "or remove what overrides it"
                )
        module.__class__ = attached_class(type(module), host)
        setattr(module, _ATTRIBUTE, self)

    @staticmethod
    def take_off(module: nn.Module) -> None:
        """Detach what is attached, if anything is."""
        if vars(module).pop(_ATTRIBUTE, None) is not None:
            module.__class__ = type(module)._fastast_base  # type: ignore[attr-defined]


_CLASSES: dict[tuple[type, Adapter], type[nn.Module]] = {}


def attached_class(base: type[nn.Module], host: Adapter) -> type[nn.Module]:
    """Return the subclass of `base` whose methods in `host.replaces` are the host's, the same one every time."""
    if (base, host) not in _CLASSES:
        _CLASSES[base, host] = _make_class(base, host)
    return _CLASSES[base, host]


def _make_class(base: Any, host: Adapter) -> type[nn.Module]:
    methods = {name: _through(name, getattr(base, name), host) for name in host.replaces}
    namespace = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__reduce_ex__": _reduce_ex,
        "_fastast_base": base,
        "_fastast_host": host,
        **methods,
    }
    return type(base)(base.__name__, (base,), namespace)


def _through(name: str, original: Callable[..., Any], host: Adapter) -> Callable[..., Any]:
    """Return a method that calls the host's, with the signature of the original for code that inspects it."""

    def method(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return getattr(host(self), name)(*args, **kwargs)

    # Not functools.wraps: TorchScript would follow it to the original's source and leave the reduction out.
    method.__name__, method.__doc__ = name, original.__doc__
    method.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    return method


def _reduce_ex(self: Any, protocol: Any) -> tuple[Any, ...]:
    """Pickle and copy by the base class, because no module holds the subclass."""
    kind = type(self)
    reduced = kind._fastast_base.__reduce_ex__(self, max(int(protocol), 2))
    if isinstance(reduced, str) or reduced[0] is not copyreg.__newobj__ or reduced[1][0] is not kind:  # type: ignore[attr-defined]
        raise TypeError(f"{kind.__qualname__} has a __reduce__ of its own: remove the reduction before it is pickled")
    return (_rebuild, (kind._fastast_base, kind._fastast_host, *reduced[1][1:]), *reduced[2:])


def _rebuild(base: type[nn.Module], host: Adapter, *arguments: Any) -> nn.Module:
    kind = attached_class(base, host)
    module: nn.Module = kind.__new__(kind, *arguments)
    return module
