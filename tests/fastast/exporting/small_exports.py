"""A model that is small enough to be exported in a test, and what it is fed."""

from __future__ import annotations

import torch

from fastast.frontend import Normalisation
from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import Constant

REDUCTION = TokenReduction(schedule=Constant(6))
FORMATS = {"onnx": ".onnx", "openvino": ".xml"}


def small_model() -> AudioSpectrogramTransformer:
    """26 tokens: (32 - 16) // 10 + 1 = 2 rows, (136 - 16) // 10 + 1 = 13 columns, less one, and two."""
    geometry = Geometry(embed_dim=32, depth=2, num_heads=2, num_classes=5, num_mel_bins=32, num_frames=130)
    torch.manual_seed(0)
    model = AudioSpectrogramTransformer(geometry).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    model.labels, model.loss = ("Ä", "b", "c", "d", "e"), "ce"
    model.normalisation = Normalisation(mean=-5.0, std=4.0)
    return model


def noise(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 130, 32, generator=torch.Generator().manual_seed(seed))
