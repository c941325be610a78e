"""Small hosts, one of each library, for the same clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from small_hosts import GEOMETRY, shaken
from torch import Tensor, nn

from fastast.model import AudioSpectrogramTransformer


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Models this small wait longer for a second thread than it works."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def native() -> AudioSpectrogramTransformer:
    """FastAST's own model."""
    return shaken(AudioSpectrogramTransformer(GEOMETRY))


@pytest.fixture
def fbank() -> Tensor:
    """Two clips (2, 192, 64) for it."""
    return torch.randn(2, GEOMETRY.num_frames, GEOMETRY.num_mel_bins)


@pytest.fixture
def picture(fbank: Tensor) -> Tensor:
    """The same clips as timm's models take them (2, 1, 64, 192)."""
    return fbank.transpose(1, 2).unsqueeze(1)


@pytest.fixture
def vit() -> Callable[..., Any]:
    """Makes a small vision transformer of timm for these pictures."""
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    def make(kind: type[nn.Module] | None = None, *, distilled: bool = False, **settings: Any) -> Any:
        kind = kind or (VisionTransformerDistilled if distilled else VisionTransformer)
        size = {"img_size": (64, 192), "patch_size": 16, "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 2}
        return shaken(kind(**(size | {"mlp_ratio": 2.0, "num_classes": 5} | settings)))

    return make


@pytest.fixture
def hugging_face() -> Callable[..., Any]:
    """Makes Hugging Face's AST for these filterbanks; the test is skipped where transformers is not installed."""
    transformers = pytest.importorskip("transformers")

    def make(kind: str = "ASTForAudioClassification", **settings: Any) -> Any:
        size = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
        grid = {"num_mel_bins": 64, "max_length": 192, "patch_size": 16, "frequency_stride": 16, "time_stride": 16}
        dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        config = transformers.ASTConfig(
            **(size | grid | dropout | {"num_labels": 5, "layer_norm_eps": 1e-6} | settings)
        )
        return shaken(getattr(transformers, kind)(config))

    return make
