"""The check of modules that something else replaces, because changes inside one would be ignored silently.

Code that packs weights reads parameters and calls no module, so a subclass (LoRA), another activation, a
parametrization or a hook would have no effect.
"""

from __future__ import annotations

from timm.layers import DropPath
from torch import nn

_INERT = (nn.Identity, nn.Dropout, DropPath)
"""Modules that do nothing in evaluation; one may stand for another."""


def why_not_as_made(model: nn.Module, made: nn.Module) -> str:
    """Return why kernels that stand for the modules of `made` cannot stand for those of `model`, built in the same way.

    A sentence; empty where every module inside is of the same class, has parameters of the same names and no hooks.
    Sizes and eps may differ, as they are read with the weights; checking the model's own class is left to the host.
    """
    modules = dict(made.named_modules())
    for name, module in model.named_modules():
        if module is model:
            continue
        what, kind = f"{name} is a {class_of(module).__name__}", modules.get(name)
        if kind is None:
            return f"{what}; the kernels have no module there"
        if class_of(module) is not type(kind) and not (class_of(module) in _INERT and type(kind) in _INERT):
            return f"{what}; the kernels have {type(kind).__name__}"
        if lacking := sorted(_own_parameters(kind) ^ _own_parameters(module)):
            return f"{name} differs from the kernels: only one of them has {lacking[0]}"
        if isinstance(kind, nn.GELU | nn.Conv2d) and module.extra_repr() != kind.extra_repr():
            return f"{what} ({module.extra_repr()}); the kernels have {type(kind).__name__} ({kind.extra_repr()})"
    return why_hooked(model)


def why_hooked(model: nn.Module) -> str:
    """Return which module has hooks, which kernels would not run, as a sentence; empty where none has."""
    for name, module in model.named_modules():
        if hooked(module):
            return f"{name or 'the model'} has hooks, which would not run on the kernels"
    return ""


def class_of(module: nn.Module) -> type:
    """Return the class of a module, ignoring any reduction that is attached to it."""
    return getattr(type(module), "_fastast_base", type(module))


def hooked(module: nn.Module) -> bool:
    """Return whether code of a user runs when the module is called."""
    own = vars(module).get("forward")  # accelerate's hooks replace it; transformers 4 leaves the original there
    if own is not None and getattr(own, "__func__", None) is not type(module).forward:
        return True
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    hooks += (*module._backward_hooks.values(), *module._backward_pre_hooks.values())
    # transformers leaves behind hooks that record hidden states on demand; the adapter records them itself.
    return any(not getattr(hook, "__module__", "").startswith("transformers.") for hook in hooks)


def _own_parameters(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_parameters(recurse=False)}
