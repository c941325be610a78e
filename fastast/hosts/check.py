"""The check of a host before a reduction is attached: its adapter must compute what the host computes itself.

Shapes: `b` batch, `n` tokens, `d` width.

First every block is compared on a few random tokens, which identifies a module at fault; then the whole model at r = 0;
then its outputs for tokens that stand for several.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastast.hosts.attachment import Attachment, Probe
from fastast.hosts.host import Host, HostBlock
from fastast.hosts.replaced import class_of, hooked
from fastast.reduction import ReductionError

if TYPE_CHECKING:
    from fastast.reduction.forward.attach import AttachedReduction

_TOKENS = 7
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 8e-2}
"""Largest difference allowed, by dtype, relative to the largest magnitude in what is compared."""
_TOLERANCE_TF32 = 5e-3
"""The same for float32 where a GPU's matrix products may round their factors (TF32)."""


def check_against_host(host: Host, attached: AttachedReduction, kernel: str) -> None:
    """Raise ReductionError, naming the module, where the adapter at r = 0 differs from the host's own forward.

    Leaves the model's mode, weights and attributes and PyTorch's random state as they are. One clip runs through the
    model four times.
    """
    parameter = _weight(host.model)
    if parameter is None or parameter.is_meta:
        raise ReductionError(f"hosts: {type(host.model).__qualname__} has no weights to compare with its adapter")
    device, dtype = parameter.device, parameter.dtype
    with _undisturbed(host.model), torch.no_grad(), torch.autocast(device.type, enabled=False):
        torch.default_generator.manual_seed(0)  # only that of the CPU, from which `example` draws
        tokens, given = torch.randn(2, _TOKENS, host.encoder.embed_dim), host.example()
        if not isinstance(given, tuple | list) or not all(isinstance(value, Tensor) for value in given):
            raise ReductionError(f"hosts: {type(host).__qualname__}.example must return a tuple of tensors")
        names = {module: name for name, module in host.model.named_modules()}
        heads = set()
        for block in host.blocks():
            weight = _weight(block.module)
            heads.add(_check_block(block, tokens.to(parameter if weight is None else weight), kernel, names))
        if host.encoder.num_heads not in heads:  # some may be pruned
            raise ReductionError(
                f"hosts: {type(host).__qualname__}.encoder says num_heads {host.encoder.num_heads}; the blocks have "
                f"{', '.join(map(str, sorted(heads)))}"
            )
        arguments = [value.to(device=device, dtype=dtype if value.is_floating_point() else None) for value in given]
        nothing = dataclasses.replace(attached, removals=(0,) * len(attached.removals))
        _check_model(host, Attachment(attached=nothing, kernel=kernel, encoder=host.encoder), arguments)


def _check_model(host: Host, attachment: Attachment, arguments: Sequence[Tensor]) -> None:
    """Compare the model with its adapter at r = 0, and check that the adapter's head weights tokens by their sizes."""
    name, seen = type(host).__qualname__, []

    def through(probe: Probe) -> Any:
        dataclasses.replace(attachment, probe=probe).put_on(host.module, type(host))
        try:
            return host.model(*arguments)
        finally:
            host.detach()

    def watched(x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor | None]:
        seen.append(x.shape[1])
        return x, size

    with _calls(host.model) as called_by_host:
        own = host.model(*arguments)
    with _calls(host.model) as called_by_adapter:
        adapted = through(watched)
    if not seen:
        raise ReductionError(f"hosts: {name} never calls self.encode, so no token would be reduced")
    names = {module: name for name, module in host.model.named_modules()}
    for module in called_by_host:
        if module not in called_by_adapter and hooked(module):
            raise ReductionError(_hooks_in_vain(f"{names.get(module, 'a module')} ({class_of(module).__name__})"))
    if difference := _difference(own, adapted):
        raise ReductionError(f"hosts: {_overridden(host)} cannot be honoured: at r = 0 the outputs {difference}")
    doubled = list(_tensors(through(lambda x, _: (torch.cat([x, x[:, -1:]], 1), None))))
    weighted = list(_tensors(through(lambda x, _: (x, _one_of_two(x, -1)))))
    pairs = [(a, b) for a, b in zip(doubled, weighted, strict=False) if a.shape == b.shape]  # not the tokens
    if difference := _difference([a for a, _ in pairs], [b for _, b in pairs]):
        raise ReductionError(
            f"hosts: what {name} computes after the blocks does not weight tokens by their sizes: with one of size 2 "
            f"in place of two equal ones, the outputs {difference}. Average tokens with fastast.hosts.weighted_mean"
        )


def _one_of_two(x: Tensor, index: int) -> Tensor:
    """Return the sizes (b, n) of tokens (b, n, d) of which the one at `index` stands for two."""
    size = torch.ones(x.shape[:2], device=x.device)
    size[:, index] = 2
    return size


def _check_block(block: HostBlock, x: Tensor, kernel: str, names: Mapping[nn.Module, str]) -> int:
    """Compare a block with its adapter on tokens (b, n, d); return its number of heads."""

    def named(module: nn.Module) -> str:
        return f"{names.get(module, 'a block')} ({type(module).__name__})"

    with _calls(block.module) as called_by_host:
        own = block.module(x)
    own = own[0] if isinstance(own, tuple) else own
    with _calls(block.module) as called_by_adapter:
        branch, heads = block.attention(x, None, kernel)
        adapted = x + branch
        adapted = adapted + block.mlp_branch(adapted)
    elsewhere = {block.module.get_submodule(name) for name in block.elsewhere}
    passed_over = [module for module in called_by_host if module not in called_by_adapter and module not in elsewhere]
    for module in passed_over:
        if not isinstance(module, nn.Identity) and not any(True for _ in module.children()):
            raise ReductionError(f"hosts: {named(module)} cannot be honoured: the block's adapter never calls it")
    for module in (block.module, *passed_over):
        if hooked(module):
            raise ReductionError(_hooks_in_vain(named(module)))
    difference = _difference(own, adapted)
    if difference:
        raise ReductionError(f"hosts: {named(block.module)} cannot be honoured: at r = 0 its tokens {difference}")
    if len(heads) != 3 or any(part.ndim != 4 or part.shape[::2] != x.shape[:2] for part in heads):
        shapes = ", ".join(str(tuple(part.shape)) for part in heads)
        raise ReductionError(
            f"hosts: the adapter of {named(block.module)} returns heads of shapes {shapes}; they must be queries, keys "
            f"and values, ({x.shape[0]}, heads, {x.shape[1]}, width) each"
        )
    backwards = x.flip(1)
    back, _ = block.attention(backwards, None, kernel)
    total = backwards + back
    difference = _difference(own, (total + block.mlp_branch(total)).flip(1))
    if difference:
        raise ReductionError(
            f"hosts: {named(block.module)} cannot be honoured: it depends on the positions of its tokens, which "
            f"merging changes; in another order, its tokens {difference}"
        )
    _check_sizes(block, x, kernel, named(block.module))
    return heads[0].shape[1]


def _check_sizes(block: HostBlock, x: Tensor, kernel: str, name: str) -> None:
    """Check that attention to a token of size 2 equals attention to two equal tokens."""
    weighted, _ = block.attention(x, _one_of_two(x, 0), kernel)
    doubled, _ = block.attention(torch.cat([x[:, :1], x], 1), None, kernel)
    difference = _difference(doubled[:, 1:], weighted)
    if difference:
        raise ReductionError(
            f"hosts: the adapter of {name} does not weight tokens by their sizes: with one of size 2 in place of two "
            f"equal ones, the outputs of attention {difference}"
        )


def _hooks_in_vain(module: str) -> str:
    return (
        f"hosts: {module} has hooks, which would not run under a reduction: the model is run in parts. Remove the "
        "hooks, or put them on the layers inside"
    )


def _difference(expected: Any, got: Any) -> str:
    """Return how two outputs differ, as text; empty where they agree."""
    pairs = list(zip(_tensors(expected), _tensors(got), strict=False))
    if len(list(_tensors(expected))) != len(list(_tensors(got))) or any(a.shape != b.shape for a, b in pairs):
        shapes = [", ".join(str(tuple(value.shape)) for value in _tensors(output)) for output in (expected, got)]
        return f"have the shapes {shapes[1]} instead of the model's {shapes[0]}"
    for own, adapted in pairs:
        if own.numel() == 0:
            continue
        scale = float(own.abs().max())
        largest = float((own.double() - adapted.double()).abs().max())
        if not largest <= _tolerance(own) * scale:  # NaN differs too
            return f"differ by up to {largest:.2g}, where the largest is {scale:.2g}"
    return ""


def _tolerance(x: Tensor) -> float:
    if x.is_cuda and x.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
        return _TOLERANCE_TF32
    return _TOLERANCE.get(x.dtype, 0.0)


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of an output, however it is nested."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)


def _overridden(host: Host) -> str:
    """Name those of the methods that the adapter replaces which a user's class overrides."""
    model = type(host.module)
    owners = {name: next(kind for kind in model.__mro__ if name in vars(kind)) for name in host.replaces}
    nearest = min(owners.values(), key=model.__mro__.index)
    names = [f"{nearest.__qualname__}.{name}" for name, owner in owners.items() if owner is nearest]
    if len(names) == len(owners):  # a class of the library itself
        return f"what {model.__qualname__} does around its blocks"
    return ", ".join(names)


def _weight(module: nn.Module) -> Tensor | None:
    """Return a floating-point parameter, for its device and dtype; None without one."""
    return next((parameter for parameter in module.parameters() if parameter.is_floating_point()), None)


@contextmanager
def _calls(module: nn.Module) -> Iterator[list[nn.Module]]:
    """List the modules inside `module` as they are called."""
    called: list[nn.Module] = []
    handles = [
        part.register_forward_pre_hook(lambda part, _: called.append(part))
        for part in module.modules()
        if part is not module
    ]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and restore every module's own mode and the CPU's random state afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng(devices=[]):
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
