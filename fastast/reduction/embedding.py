"""Merge embeddings: learned vectors that tokens are compared by, from a norm and a linear layer for every block.

Shapes: `k` blocks, `b` batch, `n` tokens, `d` width of a token, `w` width of an embedding.

A file is safetensors with `weight` (k, w, d) and `bias` (k, w), and one header entry, `fastast_merging`, which is JSON:
{"version": 1, "model": name, "rows": patches along frequency, "training": {...}}. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fastast.reduction.choosing.precision import widened, without_autocast
from fastast.reduction.options import ReductionError
from fastast.reduction.registry import BlockShape
from fastast.system.writing import write_whole

ENTRY = "fastast_merging"
VERSION = 1
SHIPPED = {
    name: Path(__file__).parents[1] / "assets" / f"{name}.merging.safetensors" for name in ("ast_tiny_soundscapes",)
}
"""Embeddings that come with the package, by the model that they were learned for."""
_ADVICE = "learn one with `fastast learn-merging MODEL --data RECIPE -o FILE`, and give --option weights=FILE"
_NAMED = re.compile(r"(?P<path>.+)@(?P<digest>[0-9a-f]{12})")
_EPS = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class MergeEmbedding:
    """The linear layers of all blocks of one model."""

    weight: Tensor
    """Weights of the layers, (k, w, d)."""
    bias: Tensor
    """Biases of the layers, (k, w)."""
    model: str
    """Name of the model that they were learned for, as a user gave it."""
    rows: int
    """Patches along frequency in that model, which depend on its stride but not on its length."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """How they were learned, as values that JSON can hold."""

    def __post_init__(self) -> None:
        if self.weight.ndim != 3 or self.bias.shape != self.weight.shape[:2]:
            raise ReductionError(
                f"merge embedding: weight is {tuple(self.weight.shape)} and bias {tuple(self.bias.shape)}; they must "
                "be (blocks, width, token width) and (blocks, width)"
            )

    @property
    def width(self) -> int:
        """Width `w` of an embedding."""
        return self.weight.shape[1]

    def of(self, x: Tensor, block: int) -> Tensor:
        """Embed the tokens that enter a block, (b, n, d) -> (b, n, w); differentiable."""
        return embedded(x, self.weight[block], self.bias[block])

    def save(self, path: Path) -> None:
        """Write a file, whole or not at all; equal layers give equal bytes."""
        header = {"version": VERSION, "model": self.model, "rows": self.rows, "training": dict(self.training)}
        tensors = {name: getattr(self, name).detach().cpu().float().contiguous() for name in ("weight", "bias")}
        write_whole(path, save(tensors, {ENTRY: json.dumps(header, allow_nan=False)}))


def embedded(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise tokens and project them, (b, n, d) -> (b, n, w), in float32 or wider, even under autocast."""
    with without_autocast(x):
        wide = widened(x)
        normed = F.layer_norm(wide, wide.shape[-1:], eps=_EPS)
        return F.linear(normed, weight.to(wide.dtype), bias.to(wide.dtype))


def identified(weights: str) -> str:
    """Return what names an embedding in records: the name of a shipped one, or the path and digest of a file.

    `path@digest` is returned as it is, so that a record can be read where the file is missing. Raises ReductionError
    where `weights` is neither of these nor a readable file.
    """
    if weights in SHIPPED or _NAMED.fullmatch(weights):
        return weights
    return f"{weights}@{_digest(_content(Path(weights)))}"


def merge_embedding(weights: str) -> MergeEmbedding:
    """Return the embedding that `identified` named, read only once.

    Raises ReductionError where the file is missing, is not a merge embedding, or has changed.
    """
    if weights not in _READ:
        with torch.inference_mode(False):
            _READ[weights] = _read(weights)
    return _READ[weights]


def placed(weights: str, x: Tensor) -> MergeEmbedding:
    """Return an embedding on the device of `x`, in float64 where `x` is and else in float32.

    It is cached, so that a captured graph finds it at the same address.
    """
    source = merge_embedding(weights)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    key = (weights, x.device, dtype)
    if key in _PLACED:
        return _PLACED[key]
    with torch.inference_mode(False):
        moved = MergeEmbedding(
            weight=source.weight.to(x.device, dtype),
            bias=source.bias.to(x.device, dtype),
            model=source.model,
            rows=source.rows,
        )
    if not (torch.compiler.is_compiling() or torch.compiler.is_exporting() or x.is_meta):
        _PLACED[key] = moved
    return moved


_READ: dict[str, MergeEmbedding] = {}
_PLACED: dict[tuple[str, torch.device, torch.dtype], MergeEmbedding] = {}


def check_fits(weights: str, shape: BlockShape, method: str) -> None:
    """Raise ReductionError where an embedding was learned for a model of another shape or stride."""
    found, encoder = merge_embedding(weights), shape.encoder
    blocks, _, width = found.weight.shape
    theirs = {"blocks": blocks, "width": width, "rows of patches (a larger stride has fewer)": found.rows}
    mine = (encoder.depth, encoder.embed_dim, encoder.grid[0])
    for (what, value), here in zip(theirs.items(), mine, strict=True):
        if value != here:
            raise ReductionError(
                f"reduction {method}: the merge embedding {weights} was learned for {found.model}, {value} {what}; "
                f"this model has {here}: {_ADVICE}"
            )


def _read(weights: str) -> MergeEmbedding:
    named = _NAMED.fullmatch(weights)
    path = SHIPPED.get(weights) or Path(named["path"] if named else weights)
    content = _content(path)
    if named and _digest(content) != named["digest"]:
        raise ReductionError(
            f"{path}: this merge embedding is not the one that was named ({named['digest']}), but {_digest(content)}; "
            f"restore that one, or name this one: --option weights={path}"
        )
    try:
        size = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][ENTRY])
        tensors = load(content)
        if header["version"] != VERSION:
            raise ReductionError(
                f"{path}: a merge embedding of version {header['version']}; this FastAST reads {VERSION}"
            )
        found = MergeEmbedding(
            weight=tensors["weight"].float(),
            bias=tensors["bias"].float(),
            model=header["model"],
            rows=header["rows"],
            training=header["training"],
        )
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError, SafetensorError) as error:
        raise ReductionError(
            f"{path}: this is not a file of `fastast learn-merging`, or it is damaged ({error!r}); {_ADVICE}"
        ) from None
    if not (torch.isfinite(found.weight).all() and torch.isfinite(found.bias).all()):
        raise ReductionError(f"{path}: the merge embedding holds NaN or infinite numbers; {_ADVICE}")
    return found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReductionError(
            f"reduction dtem: weights is {str(path)!r}: {error.strerror or error}. Of the models that come with "
            f"FastAST, {', '.join(SHIPPED)} has a merge embedding; for another, {_ADVICE}"
        ) from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
