"""Attach a reduction to a model, and take it off again."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import torch

from fastast.attention import resolve_kernel
from fastast.geometry import Geometry
from fastast.reduction.spec import ReductionError, TokenReduction


@dataclass(frozen=True, kw_only=True)
class AttachedReduction:
    """A reduction resolved for one model: all that its forward asks for."""

    reduction: TokenReduction
    """What was asked for."""
    removals: tuple[int, ...]
    """Tokens that each block removes."""
    num_protected: int
    """Leading tokens that are never merged."""


class Reducible(Protocol):
    """A model whose forward honours an attached reduction."""

    geometry: Geometry
    attached: AttachedReduction | None
    attention_kernel: str


class Handle:
    """A reduction on a model; leaving the `with` block or `remove()` restores the model exactly."""

    def __init__(self, model: Reducible, attached: AttachedReduction, previous_kernel: str) -> None:
        self._model = model
        self._attached = attached
        self._previous_kernel = previous_kernel

    @property
    def reduction(self) -> TokenReduction:
        """The reduction that was attached."""
        return self._attached.reduction

    @property
    def tokens_per_block(self) -> tuple[int, ...]:
        """Tokens that leave each block."""
        return self.reduction.tokens_per_block(self._model.geometry)

    def remove(self) -> None:
        """Take the reduction off the model; a second call changes nothing."""
        if self._model.attached is self._attached:
            self._model.attached = None
            self._model.attention_kernel = self._previous_kernel

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def reduce(model: Reducible, reduction: TokenReduction, *, attention: str = "auto") -> Handle:
    """Make `model` reduce its tokens and return the handle that undoes it.

    Nothing of the model's weights or classes changes. `attention` names the kernel of `fastast.attention`.
    Raises ReductionError where the reduction is impossible for the model's geometry or one is attached already,
    ValueError for an unknown kernel.
    """
    if model.attached is not None:
        raise ReductionError(
            f"reduce: the model is reduced already ({model.attached.reduction}); remove() that handle first"
        )
    resolve_kernel(attention, torch.device("cpu"))
    attached = AttachedReduction(
        reduction=reduction,
        removals=reduction.removals(model.geometry),
        num_protected=reduction.protected(model.geometry),
    )
    handle = Handle(model, attached, model.attention_kernel)
    model.attached = attached
    model.attention_kernel = attention
    return handle


def restore(model: Reducible) -> None:
    """Take any reduction off `model`, such as a copy or an unpickled one, to which no handle belongs."""
    model.attached = None
    model.attention_kernel = "auto"
