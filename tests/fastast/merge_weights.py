"""What a method needs to run on a small model: DTEM takes a merge embedding of the model's shape, here a random one."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from fastast.encoder import EncoderShape
from fastast.reduction.embedding import MergeEmbedding

_FOLDER = tempfile.TemporaryDirectory()


def needed(method: str, encoder: EncoderShape) -> dict[str, str]:
    """Return the options without which a method is refused for an encoder."""
    if method != "dtem":
        return {}
    return {"weights": str(random_embedding(encoder.depth, encoder.embed_dim, encoder.grid[0]))}


@lru_cache
def random_embedding(depth: int, embed_dim: int, rows: int, *, width: int = 12, seed: int = 0) -> Path:
    """Return the file of an embedding that compares tokens by nothing in particular."""
    generator = torch.Generator().manual_seed(seed)
    path = Path(_FOLDER.name) / f"{depth}x{embed_dim}x{rows}x{width}_{seed}.safetensors"
    MergeEmbedding(
        weight=torch.randn(depth, width, embed_dim, generator=generator),
        bias=torch.randn(depth, width, generator=generator),
        model="a small model",
        rows=rows,
    ).save(path)
    return path
