"""Multiply-accumulates of an AST, by formula.

Counted: every matrix product (patches, queries to projection, both attention products, MLP, head) and the
similarity product of the matching. Not counted: norms, softmax, GELU, the weighted average of a merge.
One MAC is two floating-point operations. Shapes: `n` tokens, `d` width.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastast.geometry import Geometry


def block_macs(geometry: Geometry, tokens_in: int, tokens_out: int, *, matching: bool = True) -> int:
    """Return the MACs of one block whose attention sees `tokens_in` and whose MLP sees `tokens_out` tokens.

    `matching` counts what bipartite matching needs where tokens are removed: a product of head width for every
    patch token at an even position with every one at an odd position (prefix tokens are protected, as by default).
    """
    d = geometry.embed_dim
    attention = 4 * tokens_in * d * d + 2 * tokens_in * tokens_in * d
    mlp = 2 * tokens_out * d * geometry.mlp_dim
    even = (tokens_in + 1) // 2 - (geometry.num_prefix_tokens + 1) // 2
    odd = tokens_in // 2 - geometry.num_prefix_tokens // 2
    pairs = even * odd if matching and tokens_out < tokens_in else 0
    return attention + mlp + pairs * geometry.head_dim


def model_macs(geometry: Geometry, tokens_per_block: Sequence[int] | None = None, *, matching: bool = True) -> int:
    """Return the MACs of one clip.

    `tokens_per_block` are the tokens that leave each block; None is the unmerged model. Raises ValueError
    where there is not one number a block.
    """
    tokens_out = [geometry.num_tokens] * geometry.depth if tokens_per_block is None else list(tokens_per_block)
    if len(tokens_out) != geometry.depth:
        raise ValueError(f"macs: {len(tokens_out)} token counts for {geometry.depth} blocks; give one a block")
    tokens_in = [geometry.num_tokens, *tokens_out[:-1]]
    patches = geometry.num_patches * geometry.patch_size**2 * geometry.embed_dim
    blocks = sum(block_macs(geometry, *pair, matching=matching) for pair in zip(tokens_in, tokens_out, strict=True))
    return patches + blocks + geometry.embed_dim * geometry.num_classes
