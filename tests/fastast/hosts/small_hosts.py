"""What the tests of hosts share besides fixtures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastast.geometry import Geometry

GEOMETRY = Geometry(
    embed_dim=32,
    depth=3,
    num_heads=2,
    num_classes=5,
    num_mel_bins=64,
    num_frames=192,
    fstride=16,
    tstride=16,
    mlp_ratio=2.0,
    norm_eps=1e-6,
    head_norm_eps=1e-6,
)
"""50 tokens: 4 x 12 patches, class and distillation token."""


def shaken(model: Any, by: float = 0.1) -> Any:
    """Move every weight, so that none is where its initialisation leaves it out of the result."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * by)
    return model.eval()


def logits(output: Any) -> Tensor:
    """The tensor of a model's output."""
    return output if isinstance(output, Tensor) else output.logits
