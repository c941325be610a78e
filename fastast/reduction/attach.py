"""Attach a reduction to a model, and take it off again."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

import torch

from fastast.attention import resolve_kernel
from fastast.encoder import EncoderShape
from fastast.reduction.check import check_plan, looks_at_values
from fastast.reduction.options import ReductionError
from fastast.reduction.plan import MergePlan
from fastast.reduction.spec import TokenReduction
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class AttachedReduction:
    """A reduction resolved for one encoder: all that its forward asks for."""

    reduction: TokenReduction
    """What was asked for."""
    removals: tuple[int, ...]
    """Tokens that each block removes."""
    num_protected: int
    """Leading tokens that are never merged."""
    checked: set[int] = field(default_factory=set, compare=False, repr=False)
    """Blocks whose first plan was looked at."""

    @classmethod
    def of(cls, reduction: TokenReduction, shape: EncoderShape) -> AttachedReduction:
        """Resolve a reduction. Raises ReductionError where it is impossible for the encoder."""
        return cls(
            reduction=reduction,
            removals=reduction.removals(shape),
            num_protected=reduction.protected(shape),
        )

    def choose(self, tokens: BlockTokens, r: int) -> MergePlan:
        """Ask the method which `r` tokens go.

        The first plan of every block is looked at: raises ReductionError, with the rule it breaks, where it is none.
        """
        plan = self.reduction.registered.choose(tokens, r, self.reduction.options)
        if tokens.block not in self.checked and looks_at_values(tokens):
            check_plan(plan, tokens, r, self.reduction.method)
            self.checked.add(tokens.block)
        return plan

    def spares_the_head(self, shape: EncoderShape) -> bool:
        """Whether the last block leaves the prefix tokens alone, so that a head may read them without the others."""
        return self.removals[-1] == 0 or self.num_protected >= shape.num_prefix_tokens


class Reducible(Protocol):
    """A model whose forward honours an attached reduction."""

    attached: AttachedReduction | None
    attention_kernel: str

    @property
    def encoder(self) -> EncoderShape:
        """The shape of its encoder."""
        ...


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
        return self.reduction.tokens_per_block(self._model.encoder)

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


def reduce(model: Any, reduction: TokenReduction, *, attention: str = "auto") -> Handle:
    """Make `model` reduce its tokens and return the handle that undoes it.

    `model` is FastAST's own. Nothing of its weights or classes changes. `attention` names the kernel of
    `fastast.attention`. Raises ReductionError where the reduction is impossible for the model's encoder or one is
    attached already, ValueError for an unknown kernel.
    """
    if model.attached is not None:
        raise ReductionError(
            f"reduce: the model is reduced already ({model.attached.reduction}); remove() that handle first"
        )
    resolve_kernel(attention, torch.device("cpu"))
    attached = AttachedReduction.of(reduction, model.encoder)
    handle = Handle(model, attached, model.attention_kernel)
    model.attached = attached
    model.attention_kernel = attention
    return handle


def restore(model: Reducible) -> None:
    """Take any reduction off `model`, such as a copy or an unpickled one, to which no handle belongs."""
    model.attached = None
    model.attention_kernel = "auto"
