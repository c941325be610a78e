"""Multiply-accumulates (MACs) of a model, by formula.

Counted: every matrix product of the model (patches, queries to projection, both attention products, MLP, head) and of
the choice of tokens. Not counted: norms, softmax, GELU, the weighted average of a merge.
One MAC is two floating-point operations. Shapes: `n` tokens, `d` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from fastast.encoder import EncoderShape, HasEncoder, encoder_of

BlockPlace = Literal["between", "before", "after"]
"""Where in a block tokens are removed: between attention and MLP (ToMe, section 3), before attention, or after the
MLP."""


class Choosing(Protocol):
    """What schedules and MAC counts need to know about how a reduction chooses tokens."""

    @property
    def place(self) -> BlockPlace:
        """Where in a block tokens are removed."""
        ...

    @property
    def excess(self) -> str:
        """What to do about a block that has too few tokens: `refuse` or `cap`."""
        ...

    def limit(self, shape: EncoderShape, num_tokens: int, block: int = 0) -> int:
        """Return the most tokens that a block can remove when `num_tokens` enter it."""
        ...

    def choosing_macs(self, shape: EncoderShape, num_tokens: int, r: int, block: int = 0) -> int:
        """Return the MACs of choosing `r` of the `num_tokens` tokens that enter a block."""
        ...


class Reducing(Choosing, Protocol):
    """A reduction, as MAC counts see it."""

    def tokens_per_block(self, shape: EncoderShape | HasEncoder) -> tuple[int, ...]:
        """Return the number of tokens that leave each block; with a threshold, the fewest possible."""
        ...


def block_macs(shape: EncoderShape | HasEncoder, tokens_in: int, tokens_out: int) -> int:
    """Return the MACs of one block whose attention sees `tokens_in` and whose MLP sees `tokens_out` tokens."""
    encoder = encoder_of(shape)
    d = encoder.embed_dim
    return 4 * tokens_in * d * d + 2 * tokens_in * tokens_in * d + 2 * tokens_out * d * encoder.mlp_dim


def seen_tokens(place: BlockPlace, before: int, after: int) -> tuple[int, int]:
    """Return how many tokens attention and MLP see in a block that `before` tokens enter and `after` leave."""
    return (after if place == "before" else before), (before if place == "after" else after)


def model_macs(
    shape: EncoderShape | HasEncoder, reduced: Reducing | Sequence[int] | None = None, *, place: BlockPlace = "between"
) -> int:
    """Return the MACs of one clip: unmerged, under a reduction, or with given numbers of tokens leaving each block.

    For a reduction, which has its own place, they include the cost of choosing tokens; with a threshold, they are the
    fewest that a clip can take. Bare numbers of tokens, removed at `place`, do not say how tokens were chosen, so their
    MACs are a lower bound. Raises ValueError where there is not one number per block, and for a text or a schedule
    alone; ReductionError for a reduction that the model cannot do.
    """
    encoder = encoder_of(shape)
    if isinstance(reduced, str) or not (
        reduced is None or isinstance(reduced, Sequence) or hasattr(reduced, "tokens_per_block")
    ):
        raise ValueError(
            f"macs: {reduced!r} is not a reduction; give fastast.TokenReduction(schedule='constant:40'), or the number "
            "of tokens that leave each block"
        )
    if reduced is None or isinstance(reduced, Sequence):
        return encoder_macs(encoder, reduced, place=place)
    return encoder_macs(encoder, reduced.tokens_per_block(encoder), reduced)


def encoder_macs(
    shape: EncoderShape,
    tokens: Sequence[int] | None = None,
    choosing: Choosing | None = None,
    *,
    place: BlockPlace = "between",
) -> int:
    """Return the MACs of one clip with `tokens` leaving each block, chosen by `choosing` or, at `place`, at no cost."""
    place = place if choosing is None else choosing.place
    tokens_out = [shape.num_tokens] * shape.depth if tokens is None else list(tokens)
    if len(tokens_out) != shape.depth:
        raise ValueError(f"macs: {len(tokens_out)} token counts for {shape.depth} blocks; give one per block")
    pooled = tokens_out[-1] - (0 if shape.pools_prefix else shape.num_prefix_tokens)
    total = shape.outside_macs + pooled * shape.pooled_macs
    for block, (before, after) in enumerate(zip([shape.num_tokens, *tokens_out[:-1]], tokens_out, strict=True)):
        total += block_macs(shape, *seen_tokens(place, before, after))
        if choosing is not None:
            total += choosing.choosing_macs(shape, before, before - after, block)
    return total
