"""AttachedReduction: a reduction resolved for the encoder that it is attached to."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastast.encoder import EncoderShape
from fastast.reduction.check import checked_choice, chosen_above, looks_at_values, speaks_of_the_method
from fastast.reduction.plan import MergePlan
from fastast.reduction.spec import TokenReduction
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class AttachedReduction:
    """A reduction resolved for one encoder: all that its forward pass needs."""

    reduction: TokenReduction
    """The reduction, as requested."""
    removals: tuple[int, ...]
    """Number of tokens that each block removes; with a threshold, the most."""
    num_protected: int
    """Number of leading tokens that are never merged."""
    checked: set[int] = field(default_factory=set, compare=False, repr=False)
    """Blocks whose first plan was checked."""

    @classmethod
    def of(cls, reduction: TokenReduction, shape: EncoderShape) -> AttachedReduction:
        """Resolve a reduction. Raises ReductionError where it is impossible for the encoder."""
        return cls(
            reduction=reduction,
            removals=reduction.removals(shape),
            num_protected=reduction.protected(shape),
        )

    def choose(self, tokens: BlockTokens, r: int) -> MergePlan:
        """Let the method choose which `r` tokens go.

        Checks the first plan of every block, as soon as a batch allows it, and every plan of a threshold for its type:
        raises ReductionError, with the broken rule, where one is not valid.
        """
        if self.reduction.threshold is not None:
            return chosen_above(self.reduction, tokens, r)
        # In this order: what a compiler traces must not depend on the set.
        if not looks_at_values(tokens) or tokens.block in self.checked or not speaks_of_the_method(tokens):
            return self.reduction.registered.choose(tokens, r, self.reduction.options)
        plan = checked_choice(self.reduction, tokens, r)
        self.checked.add(tokens.block)
        return plan

    def spares_the_head(self, shape: EncoderShape) -> bool:
        """Return whether the last block leaves the prefix tokens alone, so that a head may read them by themselves."""
        return self.removals[-1] == 0 or self.num_protected >= shape.num_prefix_tokens
