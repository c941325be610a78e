"""What all tests share: their threads, and models small enough to run in milliseconds."""

from __future__ import annotations

import gc
import os

import hypothesis
import pytest
import torch

from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer

# How long an example takes says something of the machine, nothing of the code.
hypothesis.settings.register_profile("fastast", deadline=None)
hypothesis.settings.load_profile("fastast")


def pytest_configure() -> None:
    gc.disable()  # nothing is garbage before the tests run


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later search for garbage: it takes a second each time."""
    gc.freeze()
    gc.enable()


SIDE_BY_SIDE = "PYTEST_XDIST_WORKER" in os.environ
"""Whether files of tests run beside others: then one thread each, in the programs that they start too."""


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    torch.set_num_threads(1 if SIDE_BY_SIDE else 2)
    if SIDE_BY_SIDE:
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if SIDE_BY_SIDE:
        torch.set_num_threads(1)  # whatever the test before has set
    torch.manual_seed(0)  # before fixtures too: what a test draws must not hang on the tests before it
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; there is none")


@pytest.fixture
def small_geometry() -> Geometry:
    """70 tokens (4 x 17 patches and 2), 3 blocks."""
    return Geometry(
        embed_dim=32, depth=3, num_heads=2, num_classes=5, num_mel_bins=48, num_frames=176, fstride=10, tstride=10
    )


@pytest.fixture
def small_model(small_geometry: Geometry) -> AudioSpectrogramTransformer:
    """A model of that geometry with weights large enough that tokens differ."""
    torch.manual_seed(0)
    model = AudioSpectrogramTransformer(small_geometry).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def small_fbank(small_geometry: Geometry) -> torch.Tensor:
    """Two clips for that model."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, small_geometry.num_frames, small_geometry.num_mel_bins, generator=generator)
