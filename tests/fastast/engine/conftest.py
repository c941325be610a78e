"""A tiny model, and where kernels run in tests of the engine: as in those of the kernels."""

from __future__ import annotations

import pytest
import torch

from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from tests.fastast.kernels.conftest import device as device

TINY = Geometry(embed_dim=32, depth=3, num_heads=2, num_classes=5, num_mel_bins=32, num_frames=96)
"""20 tokens: (32 - 16) // 10 + 1 = 2 rows, (96 - 16) // 10 + 1 = 9 columns, two prefix tokens."""


@pytest.fixture
def tiny_model() -> AudioSpectrogramTransformer:
    """Weights large enough that tokens differ."""
    torch.manual_seed(3)
    model = AudioSpectrogramTransformer(TINY).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def tiny_fbank() -> torch.Tensor:
    """Three clips for it."""
    return torch.randn(3, 96, 32, generator=torch.Generator().manual_seed(4))


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine warns once a process: every test is a new one."""
    monkeypatch.setattr("fastast.engine.compilation._SAID", set())
