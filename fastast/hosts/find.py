"""Find the host of a model by the full name of its class (`my_models.vit.ViT`), or by the package that defines it.

A class is looked up before its base classes, and no host is imported before a model needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fastast.hosts.host import Host
from fastast.reduction import ReductionError
from fastast.registry import Registry

if TYPE_CHECKING:
    from torch import nn

HOSTS: Registry[Callable[[Any], Host]] = Registry(
    "host",
    {
        "fastast": "fastast.hosts.native:native_host",
        "timm": "fastast.hosts.timm:timm_host",
        "transformers": "fastast.hosts.transformers:transformers_host",
    },
    group="fastast.hosts",
)
"""Functions or classes that make the adapter of a model, by the full name of its class or its package.

An installed package adds its own through an entry point in the group `fastast.hosts`."""

_H = TypeVar("_H", bound=type[Host])


def register_host(model_class: type[nn.Module]) -> Callable[[_H], _H]:
    """Decorate the `Host` that adapts a model class and all its subclasses."""
    return HOSTS.register(_full_name(model_class))


def adapter_of(model: nn.Module) -> Host:
    """Return the adapter of a model.

    Raises ReductionError for a model without a host, and for one with parts that its host cannot honour, naming them.
    """
    for kind in type(model).__mro__:
        for name in (_full_name(kind), kind.__module__.partition(".")[0]):
            if name in HOSTS:
                return HOSTS.get(name)(model)
    raise ReductionError(_unknown(model))


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _unknown(model: object) -> str:
    name = _full_name(type(model))
    for inner in ("module", "_orig_mod", "model"):  # DataParallel, torch.compile, a pipeline
        if hasattr(model, inner):
            return f"hosts: {name} is a wrapper that FastAST does not know; give the model inside it, its .{inner}"
    return (
        f"hosts: FastAST cannot attach to {name}; there are adapters for the models of {', '.join(HOSTS)}. "
        "docs/add_a_host.md shows how to write one"
    )
