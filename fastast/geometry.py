"""Geometry: the numbers that define the architecture of an Audio Spectrogram Transformer.

Shapes: `f` frames, `m` mel bins, `f'` and `t'` patches along frequency and time, `n` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from fastast.encoder import EncoderShape
from fastast.finite import hold_own_numbers

SIZES: dict[str, tuple[int, int]] = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
"""Width and number of heads of the three published sizes; all have 12 blocks."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The shape of an AST: its input, its patch grid and its blocks (Gong et al. 2021, section 2)."""

    embed_dim: int
    """Width `d` of a token."""
    depth: int = 12
    """Number of transformer blocks."""
    num_heads: int
    """Attention heads in a block; divides `embed_dim`."""
    num_classes: int
    """Outputs of the head."""
    num_mel_bins: int = 128
    """Mel bins of the input filterbank."""
    num_frames: int = 1024
    """Frames of the input filterbank (10 ms each)."""
    patch_size: int = 16
    """Side of a square patch, in mel bins and in frames."""
    fstride: int = 10
    """Step between patches along frequency, in mel bins."""
    tstride: int = 10
    """Step between patches along time, in frames."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLP divided by `embed_dim`."""
    qkv_bias: bool = True
    """Whether queries, keys and values have a bias."""
    norm_eps: float = 1e-6
    """Epsilon of the LayerNorms in and after the blocks (1e-6 in the original AST, 1e-12 in Hugging Face's)."""
    head_norm_eps: float = 1e-5
    """Epsilon of the head's LayerNorm (1e-5 in the original AST, 1e-12 in Hugging Face's)."""

    def __post_init__(self) -> None:
        hold_own_numbers(self)
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if field.type == "int" and not (number and isinstance(value, int) and value >= 1):
                raise ValueError(f"geometry: {field.name} is {value!r}; it must be an integer of at least 1")
            if field.type == "float" and not (number and math.isfinite(value) and value > 0):
                raise ValueError(f"geometry: {field.name} is {value!r}; it must be a number above 0")
            if field.type == "bool" and not isinstance(value, bool):
                raise ValueError(f"geometry: {field.name} is {value!r}; it must be true or false")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"geometry: embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}")
        for name, length in (("num_mel_bins", self.num_mel_bins), ("num_frames", self.num_frames)):
            if length < self.patch_size:
                raise ValueError(
                    f"geometry: {name} is {length}, less than one patch of {self.patch_size}; "
                    f"use at least {self.patch_size}"
                )

    @property
    def grid(self) -> tuple[int, int]:
        """Number of patches along frequency and time, (f', t')."""
        return (
            (self.num_mel_bins - self.patch_size) // self.fstride + 1,
            (self.num_frames - self.patch_size) // self.tstride + 1,
        )

    @property
    def num_patches(self) -> int:
        """Number of patches in the grid; patch (i, j) is token `num_prefix_tokens + i * t' + j`."""
        return self.grid[0] * self.grid[1]

    @property
    def num_prefix_tokens(self) -> int:
        """Number of prefix tokens: the class and the distillation token."""
        return 2

    @property
    def num_tokens(self) -> int:
        """Number of tokens that enter the first block."""
        return self.num_patches + self.num_prefix_tokens

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    @property
    def mlp_dim(self) -> int:
        """Hidden width of the MLP."""
        return round(self.embed_dim * self.mlp_ratio)

    @property
    def encoder(self) -> EncoderShape:
        """What a reduction needs to know: the shape of the blocks, and the cost of what surrounds them."""
        return EncoderShape(
            embed_dim=self.embed_dim,
            depth=self.depth,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            num_prefix_tokens=self.num_prefix_tokens,
            grid=self.grid,
            reads="prefix",
            outside_macs=(self.num_patches * self.patch_size**2 + self.num_classes) * self.embed_dim,
        )


def geometry(size: str, **overrides: object) -> Geometry:
    """Return the geometry of a published size (`tiny`, `small`, `base`), with fields overridden.

    Raises ValueError for an unknown size or field.
    """
    if size not in SIZES:
        raise ValueError(f"geometry: unknown size {size!r}; there are: {', '.join(SIZES)}")
    embed_dim, num_heads = SIZES[size]
    values: dict[str, object] = {"embed_dim": embed_dim, "num_heads": num_heads, "num_classes": 527}
    unknown = set(overrides) - {field.name for field in fields(Geometry)}
    if unknown:
        allowed = ", ".join(field.name for field in fields(Geometry))
        raise ValueError(f"geometry: unknown field {sorted(unknown)[0]!r}; there are: {allowed}")
    return Geometry(**(values | overrides))  # type: ignore[arg-type]


def with_stride(stride: int | None, given: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a geometry with `stride` as the step between patches along both axes, unchanged for None.

    Raises ValueError where the fields already give a step.
    """
    if stride is None:
        return dict(given)
    for name in ("fstride", "tstride"):
        if name in given:
            raise ValueError(f"geometry: stride is {stride!r} and {name} is {given[name]!r}; give one or the other")
    return {**given, "fstride": stride, "tstride": stride}
