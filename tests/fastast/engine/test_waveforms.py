"""An engine with a front end gives the logits of front end and model, whatever the clips' length and type."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import fastast
from fastast.engine.waveforms import KernelWaveforms, input_samples
from fastast.frontend import AUDIOSET, Frontend, Normalisation
from fastast.geometry import Geometry
from fastast.hosts import reduce
from fastast.kernels import available
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import Constant, PerBlock

MERGED = TokenReduction(schedule=PerBlock((4, 3, 2)))
SHORT = Geometry(embed_dim=32, depth=1, num_heads=2, num_classes=5, num_mel_bins=32, num_frames=16)
"""4 tokens, which is little for the interpreter to do."""
WHOLE = 400 + 15 * 160
"""Samples of its 16 frames, by hand."""
falls_back = pytest.mark.skipif(available("cpu"), reason="TRITON_INTERPRET=1 is set: nothing falls back")


@pytest.fixture
def short_model() -> AudioSpectrogramTransformer:
    torch.manual_seed(5)
    model = AudioSpectrogramTransformer(SHORT).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def frontend(model: AudioSpectrogramTransformer, *, check: bool = True) -> Frontend:
    return Frontend(model.geometry, AUDIOSET, check=check)


def on_kernel(device: torch.device, *, check: bool = True) -> KernelWaveforms:
    return KernelWaveforms(Frontend(SHORT, AUDIOSET, check=check), torch.float32, device)


def noise(samples: int, b: int = 2) -> Tensor:
    return torch.randn(b, samples, generator=torch.Generator().manual_seed(samples)) / 10


def expected(model: AudioSpectrogramTransformer, clips: object, reduction: TokenReduction | None) -> Tensor:
    features = frontend(model)(clips)
    with torch.no_grad():
        if reduction is None:
            return model(features)
        with reduce(model, reduction):
            return model(features)


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got.cpu(), want, rtol=1e-3, atol=1e-3)


CLIPS = {
    "whole": noise(WHOLE),
    "short": noise(1_500),  # padded behind
    "long": noise(WHOLE + 1_000),  # cut
    "offset": noise(1_500) + 0.3,
    "int16": (noise(1_500) * 32768).to(torch.int16),
    "list": [noise(1_500)[0], noise(400)[0], noise(WHOLE + 999)[0]],
    "numpy": [noise(900)[0].numpy()],
}


@pytest.mark.slow
@pytest.mark.parametrize("clips", CLIPS.values(), ids=CLIPS)
def test_the_kernel_gives_the_front_ends_filterbank(clips, device) -> None:
    given = on_kernel(device)
    got = given.fbank(*given.read(clips))
    torch.testing.assert_close(got.cpu(), Frontend(SHORT, AUDIOSET)(clips), rtol=0, atol=1e-3)


def test_the_kernels_give_the_logits_of_front_end_and_model(tiny_model, device) -> None:
    engine = fastast.compile(tiny_model, MERGED, device=device, frontend=frontend(tiny_model))
    assert (engine.path, engine.kernels["filterbank"]) == ("triton", "triton")
    clips = noise(6_000, b=1)
    close(engine(clips), expected(tiny_model, clips, MERGED))
    other = expected(tiny_model, clips.flip(1), MERGED)
    assert not torch.allclose(expected(tiny_model, clips, MERGED), other, atol=1e-2), "the clips do not matter"


def test_what_a_buffer_held_before_does_not_matter(device) -> None:
    """As in a captured graph: a shorter clip leaves the end of the one before it where it was."""
    given = on_kernel(device)
    waveforms, lengths = given.buffers(2)
    assert waveforms.shape == (2, WHOLE)
    waveforms.copy_(noise(WHOLE))
    short, its_length = given.read(noise(1_500))
    waveforms[:, : short.shape[1]].copy_(short)
    lengths.copy_(its_length)
    want = Frontend(SHORT, AUDIOSET)(noise(1_500))
    torch.testing.assert_close(given.fbank(waveforms, lengths).cpu(), want, rtol=0, atol=1e-3)


def test_tokens_and_eager_runs_take_waveforms_too(short_model, device) -> None:
    reduction = TokenReduction(schedule=Constant(0))
    engine = fastast.compile(short_model, reduction, device=device, frontend=frontend(short_model))
    assert engine.measure_tokens(noise(1_500)) == (4,)
    close(engine.eagerly(noise(1_500)), expected(short_model, noise(1_500), None))
    assert "from waveforms" in repr(engine)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (noise(399), "clips of 399 samples"),
        (noise(6_000)[0], r"give \(batch, samples\)"),
        (noise(6_000).to(torch.int32), "int16 / 32768"),
        ([noise(6_000)[0], noise(399)[0]], "clip 1 has 399 valid samples"),
        ([], "an empty list of clips"),
        (torch.zeros(0, 6_000), "no clips"),
        (noise(1_500).index_fill(1, torch.tensor([7]), torch.nan)[:1], "clip 0 of the batch holds NaN"),
        (torch.cat([noise(6_000), torch.full((1, 6_000), torch.inf)]), "clip 2 of the batch holds NaN"),
    ],
)
class TestWrongClips:
    def test_are_refused_by_the_kernel_in_the_front_ends_words(self, clips, message, device) -> None:
        with pytest.raises(ValueError, match=message):
            on_kernel(device).read(clips)

    @falls_back
    @pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
    def test_are_refused_by_the_plain_engine_too(self, short_model, clips, message) -> None:
        engine = fastast.compile(short_model, frontend=frontend(short_model))
        with pytest.raises(ValueError, match=message):
            engine(clips)


def test_samples_are_not_looked_at_where_the_front_end_does_not(device) -> None:
    given = on_kernel(device, check=False)
    clips = torch.cat([noise(1_500), torch.full((1, 1_500), torch.nan)])
    got = given.fbank(*given.read(clips))
    torch.testing.assert_close(got[:2].cpu(), Frontend(SHORT, AUDIOSET)(clips[:2]), rtol=0, atol=1e-3)


@falls_back
@pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
@pytest.mark.parametrize("clips", CLIPS.values(), ids=CLIPS)
def test_the_plain_engine_runs_the_front_end_itself(tiny_model, clips) -> None:
    engine = fastast.compile(tiny_model, MERGED, batch_size=2, frontend=frontend(tiny_model))
    assert (engine.path, engine.kernels["filterbank"], engine.batch_sizes) == ("plain", "torch", ())
    assert torch.equal(engine(clips), expected(tiny_model, clips, MERGED))


@falls_back
def test_the_fallback_is_said(tiny_model) -> None:
    with pytest.warns(fastast.engine.EngineFallbackWarning, match="no code for a cpu device"):
        fastast.compile(tiny_model, frontend=frontend(tiny_model))


def test_the_normalisation_is_the_front_ends(short_model, device) -> None:
    other = Frontend(SHORT, Normalisation(mean=-6.0, std=2.0))
    got = fastast.compile(short_model, device=device, frontend=other)(noise(1_500))
    with torch.no_grad():
        close(got, short_model(other(noise(1_500))))
    assert not torch.allclose(got.cpu(), expected(short_model, noise(1_500), None), atol=1e-2)


def test_a_front_end_that_does_not_fit_is_refused(tiny_model) -> None:
    with pytest.raises(ValueError, match="makes 16 frames of 32 mel bins, the model takes 96 of 32"):
        fastast.compile(tiny_model, frontend=Frontend(SHORT, AUDIOSET))
    with pytest.raises(ValueError, match=r"frontend is a int; give\s+fastast.Frontend"):
        fastast.compile(tiny_model, frontend=3)


def test_the_clip_that_fills_the_input_has_exactly_its_frames() -> None:
    from fastast.frontend.filterbank import num_frames

    for frames in (1, 96, 512, 1024):
        assert num_frames(input_samples(frames)) == frames
        assert num_frames(input_samples(frames) - 1) == frames - 1
    assert input_samples(1024) == np.ceil(10.255 * 16_000)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_a_captured_graph_serves_clips_of_all_lengths(short_model, dtype, rounding) -> None:
    options = {"device": "cuda", "dtype": dtype, "frontend": frontend(short_model)}
    eager = fastast.compile(short_model, **options)
    captured = fastast.compile(short_model, batch_size=(1, 2, 3), **options)
    assert captured.batch_sizes == (1, 2, 3)
    for clips in (*CLIPS.values(), *reversed(CLIPS.values())):
        torch.testing.assert_close(captured(clips), eager(clips), rtol=rounding, atol=rounding)
    assert torch.equal(captured(CLIPS["whole"].cuda()), eager(CLIPS["whole"]))
    assert not torch.equal(captured(CLIPS["whole"]), captured(CLIPS["short"]))
