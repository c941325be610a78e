"""What half precision costs on a GPU: the engine's logits of a trained model and of real sound against float32."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import fastast
from fastast.zoo import ASSETS

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")]


@pytest.fixture(scope="module")
def model() -> fastast.AudioSpectrogramTransformer:
    return fastast.create_model("ast_tiny_soundscapes").eval()


@pytest.fixture(scope="module")
def fbank(model: fastast.AudioSpectrogramTransformer) -> torch.Tensor:
    """Sixteen windows of the example, a tenth of a second apart."""
    sound = torch.from_numpy(fastast.load_audio(ASSETS / "examples" / "bird_and_water.ogg"))
    length = 16_000 * 5
    windows = [sound.roll(-1600 * i)[:length] for i in range(16)]
    return fastast.Frontend(model.geometry, model.normalisation)(torch.stack(windows))


@pytest.mark.parametrize("r", [0, 20, 40])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_point_where_those_of_float32_do(model, fbank, r: int, dtype: torch.dtype) -> None:
    reduction = fastast.TokenReduction(schedule=f"constant:{r}") if r else None
    exact = fastast.compile(model, reduction, device="cpu")(fbank)
    engine = fastast.compile(model, reduction, dtype=dtype, device="cuda", batch_size=len(fbank))
    assert engine.path == "triton"
    assert F.cosine_similarity(engine(fbank).float().cpu(), exact).min() >= 0.999
