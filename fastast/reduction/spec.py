"""TokenReduction: a reduction as a value that prints, compares, hashes and travels in a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fastast.geometry import Geometry
from fastast.names import unknown_name
from fastast.reduction.registry import get_method
from fastast.schedule import Schedule, count_tokens

Metric = Literal["keys", "queries", "values", "tokens"]
Order = Literal["tome", "position"]
Excess = Literal["refuse", "cap"]


class ReductionError(ValueError):
    """A reduction that the model at hand cannot do."""


@dataclass(frozen=True, kw_only=True)
class TokenReduction:
    """How tokens are reduced between attention and MLP of every block."""

    schedule: Schedule
    """Tokens removed per block."""
    method: str = "tome"
    """Name of a registered method."""
    metric: Metric = "keys"
    """What tokens are compared by: keys, queries or values averaged over heads (ToMe: keys), or the tokens."""
    proportional: bool = True
    """Weight a token by its size in attention (needed off the shelf for supervised models)."""
    num_protected: int | None = None
    """Leading tokens never merged; None protects all prefix tokens, class and distillation."""
    order: Order = "tome"
    """Order of the tokens that stay: ToMe's (protected, A, B) or that of their positions."""
    excess: Excess = "refuse"
    """What to do where a block has too few tokens for its `r`: refuse up front, or cap as ToMe does."""

    def __post_init__(self) -> None:
        get_method(self.method)
        for name, kind in (("metric", Metric), ("order", Order), ("excess", Excess)):
            if getattr(self, name) not in get_args(kind):
                raise ReductionError("reduction: " + unknown_name(name, getattr(self, name), get_args(kind)))
        if self.num_protected is not None and self.num_protected < 0:
            raise ReductionError(f"reduction: num_protected is {self.num_protected}; allowed are None, 0, 1, ...")

    def protected(self, geometry: Geometry) -> int:
        """Return how many leading tokens are protected in a model of this geometry."""
        return geometry.num_prefix_tokens if self.num_protected is None else self.num_protected

    def removals(self, geometry: Geometry) -> tuple[int, ...]:
        """Return the tokens that each block removes, known before anything runs.

        Raises ReductionError, with the tokens each block would have, where a block has too few for its `r` and
        `excess` is "refuse".
        """
        tokens = self.tokens_per_block(geometry)
        return tuple(before - after for before, after in zip((geometry.num_tokens, *tokens), tokens, strict=False))

    def tokens_per_block(self, geometry: Geometry) -> tuple[int, ...]:
        """Return the tokens that leave each block. Raises ReductionError as `removals` does."""
        protected = self.protected(geometry)
        wanted = self.schedule.removals(geometry, protected)
        limit = get_method(self.method).limit
        tokens, excess = count_tokens(geometry.num_tokens, protected, wanted, limit)
        if excess is None or self.excess == "cap":
            return tokens
        before = (geometry.num_tokens, *tokens)[excess]
        raise ReductionError(
            f"reduction {self.method} {self.schedule}: block {excess + 1} of {geometry.depth} has {before} tokens, "
            f"{protected} of them protected, and can remove {limit(before, protected)}, not {wanted[excess]}. "
            f"Tokens that leave each block if capped there: {', '.join(map(str, tokens))}. "
            "Remove fewer tokens, remove them earlier (a decreasing schedule), or ask for the cap with excess='cap' "
            "(fastast predict, info and evaluate: --excess cap)"
        )

    def __str__(self) -> str:
        extras = [
            f"{name}={getattr(self, name)}"
            for name, default in (
                ("metric", "keys"),
                ("proportional", True),
                ("num_protected", None),
                ("order", "tome"),
                ("excess", "refuse"),
            )
            if getattr(self, name) != default
        ]
        return " ".join([self.method, str(self.schedule), *extras])
