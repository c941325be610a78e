"""Attach a reduction to a model, whichever library built it, and detach it again."""

from __future__ import annotations

from types import TracebackType

import torch
from torch import nn

from fastast.attention import resolve_kernel
from fastast.hosts.check import check_against_host
from fastast.hosts.find import adapter_of
from fastast.hosts.host import Host
from fastast.reduction import AttachedReduction, ReductionError, TokenReduction
from fastast.reduction.spec import check_reduction


class Handle:
    """A reduction on a model; leaving the `with` block or `remove()` restores the model exactly."""

    def __init__(self, host: Host, attached: AttachedReduction) -> None:
        self._host = host
        self._attached = attached
        self._shape = host.encoder

    @property
    def reduction(self) -> TokenReduction:
        """The reduction that was attached."""
        return self._attached.reduction

    @property
    def tokens_per_block(self) -> tuple[int, ...]:
        """Number of tokens that leave each block; with a threshold the fewest, as every clip keeps what it needs."""
        return self.reduction.tokens_per_block(self._shape)

    def remove(self) -> None:
        """Detach the reduction from the model; a second call changes nothing."""
        if self._host.attached is self._attached:
            self._host.detach()

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def reduce(model: nn.Module, reduction: TokenReduction, *, attention: str = "auto") -> Handle:
    """Make `model` reduce its tokens, in place, and return the handle that undoes this.

    `model` is FastAST's own, one of Hugging Face's or timm's, or any that has a host; its weights are left as they are.
    A model of another library is checked first: one clip runs through it four times. `attention` names the kernel of
    `fastast.attention`.

    Raises ReductionError where the model has no host, where its host cannot honour a module (by the module's name),
    where the reduction is impossible for the model's encoder, and where a reduction is already attached; ValueError for
    an unknown kernel.
    """
    check_reduction(reduction, "reduce")
    host = adapter_of(model)
    if host.attached is not None:
        raise ReductionError(
            f"reduce: the model is reduced already ({host.attached.reduction}); remove() that handle first"
        )
    resolve_kernel(attention, torch.device("cpu"))
    attached = AttachedReduction.of(reduction, host.encoder)
    if host.replaces:
        check_against_host(host, attached, attention)
    host.attach(attached, attention)
    return Handle(host, attached)


def restore(model: nn.Module) -> None:
    """Detach any reduction from `model`, for instance from a copy or an unpickled model, which has no handle."""
    adapter_of(model).detach()
