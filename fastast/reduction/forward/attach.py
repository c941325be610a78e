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

        The first plan of every block is looked at, of a batch that says something: raises ReductionError, with the rule
        it breaks, where it is none.
        """
        if self.reduction.threshold is not None:
            return chosen_above(self.reduction, tokens, r)
        # In this order: what a compiler traces must not hang on the set.
        if not looks_at_values(tokens) or tokens.block in self.checked or not speaks_of_the_method(tokens):
            return self.reduction.registered.choose(tokens, r, self.reduction.options)
        plan = checked_choice(self.reduction, tokens, r)
        self.checked.add(tokens.block)
        return plan

    def spares_the_head(self, shape: EncoderShape) -> bool:
        """Whether the last block leaves the prefix tokens alone, so that a head may read them without the others."""
        return self.removals[-1] == 0 or self.num_protected >= shape.num_prefix_tokens
