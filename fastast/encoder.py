"""EncoderShape: what a reduction needs to know about a transformer encoder, whichever library built it.

Shapes: `f'` and `t'` patches along frequency and time (height and width of an image), `n` tokens, `d` width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Protocol, get_args

Reads = Literal["prefix", "class", "average", "map"]
"""What a head reads: the mean of all prefix tokens (AST), the class token, the mean of the patches, or attention
pooling over all tokens."""

_FROM_0 = ("num_prefix_tokens", "outside_macs", "pooled_macs")
"""Fields that may be 0."""


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """Everything about an encoder that a schedule, a reduction method or a MAC count depends on."""

    embed_dim: int
    """Width `d` of a token."""
    depth: int
    """Number of transformer blocks."""
    num_heads: int
    """Attention heads in a block; divides `embed_dim`."""
    mlp_dim: int
    """Hidden width of the MLP."""
    num_prefix_tokens: int
    """Leading tokens that are not patches: class, distillation and register tokens."""
    grid: tuple[int, int]
    """Patches along frequency and time, (f', t'); patch (i, j) is token `num_prefix_tokens + i t' + j`."""
    reads: Reads = "prefix"
    """What the head reads."""
    pools_prefix: bool = False
    """Whether a head that averages or pools includes the prefix tokens."""
    outside_macs: int = 0
    """Multiply-accumulates per clip outside the blocks: patch embedding and head."""
    pooled_macs: int = 0
    """Multiply-accumulates of attention pooling in the head, for every token that it pools."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name in _FROM_0 else 1
            if field.type == "int" and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise ValueError(f"encoder: {field.name} is {value!r}; it must be an integer of at least {least}")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"encoder: embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}")
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(
                f"encoder: grid is {self.grid!r}; give patches along frequency and time, such as (12, 101)"
            )
        if self.reads not in get_args(Reads):
            raise ValueError(f"encoder: reads is {self.reads!r}; allowed: {', '.join(get_args(Reads))}")
        if self.reads in ("prefix", "class") and self.num_prefix_tokens == 0:
            raise ValueError(f"encoder: the head reads {self.reads!r}, but there is no prefix token")

    @property
    def num_patches(self) -> int:
        """Number of patches in the grid."""
        return self.grid[0] * self.grid[1]

    @property
    def num_tokens(self) -> int:
        """Number of tokens that enter the first block."""
        return self.num_patches + self.num_prefix_tokens

    @property
    def least_tokens(self) -> int:
        """Fewest tokens that the head can read.

        All prefix tokens for a head that reads their mean, one more where it pools patches alone, and 1 for a head that
        reads the class token or pools all tokens.
        """
        if self.reads == "prefix":
            return self.num_prefix_tokens
        if self.reads == "class" or self.pools_prefix:
            return 1
        return self.num_prefix_tokens + 1

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads


class HasEncoder(Protocol):
    """Something that describes its encoder, such as a `Geometry`."""

    @property
    def encoder(self) -> EncoderShape:
        """The shape of its encoder."""
        ...


def encoder_of(shape: EncoderShape | HasEncoder) -> EncoderShape:
    """Return the encoder shape of a geometry, or the shape itself."""
    return shape if isinstance(shape, EncoderShape) else shape.encoder
