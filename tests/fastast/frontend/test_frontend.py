"""The filterbank against torchaudio's Kaldi implementation, and what the front end makes of clips.

The golden files hold real recordings (their `source` and `licence` are inside) and the filterbank that torchaudio made
of them, so that this runs without torchaudio.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastast.frontend import AUDIOSET, ESC50, SPEECH_COMMANDS, Frontend, Normalisation, pad_or_cut
from fastast.frontend.filterbank import fbank, mel_filters, num_frames
from fastast.geometry import geometry

FFT_ROUNDING = 2e-3
"""Of a logarithm: float32 transforms of two processors differ by some 1e-7 of a frame's loudest bin, which in its
faintest bins is more. Seen: below 2e-4 on AMD with AVX2 or AVX-512, 2.6e-4 to 1.02e-3 on Intel with AVX-512."""
GOLDEN = sorted((Path(__file__).parent / "golden").glob("fbank_*.npz"))


def recording(path: Path) -> tuple[Tensor, Tensor]:
    """Waveform (samples,) in [-1, 1) and torchaudio's filterbank (f, m)."""
    with np.load(path) as file:
        return torch.from_numpy(file["waveform"].astype(np.float32) / 32768), torch.from_numpy(file["fbank"])


def recordings() -> list[tuple[Tensor, Tensor]]:
    return [recording(path) for path in GOLDEN]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kaldi's filterbank frame by frame and filter by filter, from its documentation, in float64."""
    samples = samples - samples.mean()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    edges = np.linspace(1127 * math.log(1 + 20 / 700), 1127 * math.log(1 + 8000 / 700), 130)
    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = samples[start : start + 400] - samples[start : start + 400].mean()
        emphasised = np.array([frame[i] - 0.97 * frame[max(0, i - 1)] for i in range(400)]) * window
        power = np.abs(np.fft.fft(emphasised, 512)[:256]) ** 2
        row = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            energy = 0.0
            for k in range(256):
                mel = 1127 * math.log(1 + k * 31.25 / 700)
                if low < mel < high:
                    up, down = (mel - low) / (centre - low), (high - mel) / (high - centre)
                    energy += power[k] * min(up, down)
            row.append(math.log(max(energy, 2**-23)))
        rows.append(row)
    return np.array(rows)


def test_there_are_golden_recordings() -> None:
    assert len(GOLDEN) == 3
    for path in GOLDEN:
        with np.load(path) as file:
            assert str(file["licence"]) == "CC0-1.0"


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_real_recordings_give_torchaudios_filterbank(path: Path) -> None:
    waveform, expected = recording(path)
    torch.testing.assert_close(fbank(waveform[None])[0], expected, atol=FFT_ROUNDING, rtol=0)


@pytest.mark.oracle
def test_real_recordings_give_the_live_torchaudios_filterbank() -> None:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    for waveform, golden in recordings():
        expected = kaldi.fbank(
            (waveform - waveform.mean())[None],
            htk_compat=True,
            sample_frequency=16_000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_shift=10,
        )
        torch.testing.assert_close(expected, golden, atol=FFT_ROUNDING, rtol=0)
        torch.testing.assert_close(fbank(waveform[None])[0], expected, atol=FFT_ROUNDING, rtol=0)


def test_the_definition_worked_out_by_hand_is_met() -> None:
    samples = noise(1200, seed=3)
    expected = by_hand(samples.double().numpy())
    np.testing.assert_allclose(fbank(samples[None])[0].numpy(), expected, atol=FFT_ROUNDING)


def test_ten_seconds_are_998_frames() -> None:
    assert fbank(noise(1, 160_000)).shape == (1, 998, 128)
    assert num_frames(160_000) == 998
    assert [num_frames(samples) for samples in (399, 400, 559, 560)] == [0, 1, 1, 2]


def test_the_empty_mel_filter_of_ast_is_kept() -> None:
    filters = mel_filters(128, 16_000, fft_length=512)
    assert np.flatnonzero(filters.sum(0) == 0).tolist() == [3]
    assert fbank(noise(1, 4000))[0, :, 3].tolist() == pytest.approx([math.log(2**-23)] * 23)


def test_silence_is_the_floor_everywhere() -> None:
    torch.testing.assert_close(fbank(torch.zeros(1, 800)), torch.full((1, 3, 128), math.log(2**-23)))


def test_a_constant_offset_changes_nothing() -> None:
    waveform = noise(1, 8000)
    torch.testing.assert_close(fbank(waveform + 0.25), fbank(waveform), atol=2e-3, rtol=0)


def test_a_batch_is_its_clips() -> None:
    batch = torch.stack([waveform for waveform, _ in recordings()])
    alone = torch.cat([fbank(waveform[None]) for waveform in batch])
    torch.testing.assert_close(fbank(batch), alone, atol=1e-4, rtol=0)


def test_padding_within_a_batch_changes_nothing_and_stays_zero() -> None:
    lengths = torch.tensor([16_000, 7_777, 400])
    clips = [waveform[:length] for (waveform, _), length in zip(recordings(), lengths, strict=True)]
    batch = torch.full((3, 16_000), 9.0)  # what lies beyond a clip must not matter
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    together = fbank(batch, lengths=lengths)
    for row, clip in zip(together, clips, strict=True):
        alone = fbank(clip[None])[0]
        torch.testing.assert_close(row[: len(alone)], alone, atol=1e-4, rtol=0)
        assert (row[len(alone) :] == 0).all()


def test_autocast_does_not_coarsen_the_energies() -> None:
    waveform = recordings()[0][0][None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fbank(waveform), fbank(waveform.clone()))
        inside = fbank(waveform)
    torch.testing.assert_close(inside, fbank(waveform), atol=1e-6, rtol=0)


def test_a_first_call_in_inference_mode_does_not_spoil_later_training() -> None:
    with torch.inference_mode():
        fbank(noise(1, 800), num_mel_bins=40)
    waveform = noise(1, 800).requires_grad_()
    fbank(waveform, num_mel_bins=40).sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.abs().sum() > 0


@pytest.mark.oracle
def test_other_rates_and_numbers_of_bins_follow_kaldi() -> None:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    waveform = noise(1, 8000)
    for rate, bins in ((8000, 40), (22_050, 64)):
        expected = kaldi.fbank(
            waveform - waveform.mean(),
            htk_compat=True,
            sample_frequency=rate,
            window_type="hanning",
            num_mel_bins=bins,
            dither=0.0,
        )
        got = fbank(waveform, sample_rate=rate, num_mel_bins=bins)[0]
        torch.testing.assert_close(got, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("waveforms", "says"),
    [
        (torch.zeros(800), r"shape \(800,\).*waveform\[None\]"),
        (torch.zeros(1, 1, 800), "give .batch, samples."),
        (torch.zeros(2, 399), "399 samples.*takes 400"),
        (torch.zeros(1, 800, dtype=torch.int16), r"int16.*\[-1, 1\]"),
    ],
)
def test_waveforms_of_another_kind_are_refused(waveforms: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){says}"):
        fbank(waveforms)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_clip_with_bad_samples_is_named(value: float) -> None:
    batch = noise(4, 800)
    batch[2, 777] = value
    with pytest.raises(ValueError, match="clip 2 of the batch holds NaN or infinite"):
        fbank(batch)
    lengths = torch.tensor([800, 800, 700, 800])  # the bad sample lies in the padding
    assert fbank(batch, lengths=lengths).isfinite().all()
    assert fbank(batch, check=False)[3].isfinite().all()


@pytest.mark.parametrize("length", [399, 801])
def test_an_impossible_length_names_its_clip(length: int) -> None:
    with pytest.raises(ValueError, match=rf"clip 1 has {length} valid samples.*from 400 .*to 800"):
        fbank(noise(2, 800), lengths=torch.tensor([800, length]))


def test_features_are_padded_with_zeros_or_cut_at_the_end() -> None:
    features = noise(2, 5, 128)
    padded = pad_or_cut(features, 7)
    assert torch.equal(padded[:, :5], features)
    assert torch.equal(padded[:, 5:], torch.zeros(2, 2, 128))
    assert torch.equal(pad_or_cut(features, 3), features[:, :3])


def test_the_published_normalisations_are_those_of_the_recipes() -> None:
    # src/run.py and egs/*/run*.sh of github.com/YuanGongND/ast
    assert (AUDIOSET.mean, AUDIOSET.std) == (-4.2677393, 4.5689974)
    assert (ESC50.mean, ESC50.std) == (-6.6268077, 5.358466)
    assert (SPEECH_COMMANDS.mean, SPEECH_COMMANDS.std) == (-6.845978, 5.5654526)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (0.0, -1.0), (math.nan, 1.0), (0.0, math.inf), ("a", 1.0)])
def test_a_normalisation_that_is_none_is_refused(mean: float, std: float) -> None:
    with pytest.raises(ValueError, match="normalisation: (mean|std) is"):
        Normalisation(mean=mean, std=std)


def test_the_front_end_pads_before_it_normalises_as_ast_does() -> None:
    waveform, golden = recordings()[0]
    frontend = Frontend(geometry("tiny", num_frames=128), AUDIOSET)
    features = frontend(waveform[None])
    assert features.shape == (1, 128, 128)
    padded = np.zeros((128, 128), np.float32)
    padded[: len(golden)] = golden
    expected = (padded - (-4.2677393)) / (2 * 4.5689974)
    np.testing.assert_allclose(features[0].numpy(), expected, atol=1e-3)


def test_the_front_end_takes_int16_and_lists_of_clips_of_any_length() -> None:
    frontend = Frontend(geometry("tiny", num_frames=64), ESC50)
    waveforms = [waveform for waveform, _ in recordings()]
    clips = [waveforms[0], waveforms[1][:5000], waveforms[2][:1000]]
    together = frontend(clips)
    assert together.shape == (3, 64, 128)
    for row, clip in zip(together, clips, strict=True):
        torch.testing.assert_close(row, frontend(clip[None])[0], atol=1e-4, rtol=0)
    integers = [np.asarray((clip * 32768).numpy(), np.int16) for clip in clips]
    torch.testing.assert_close(frontend(integers), together, atol=1e-6, rtol=0)


def test_the_front_end_names_a_clip_that_does_not_fit_its_list() -> None:
    frontend = Frontend(geometry("tiny"), ESC50)
    with pytest.raises(ValueError, match=r"clip 1 of the list.*\(2, 800\)"):
        frontend([noise(800), noise(2, 800)])
    with pytest.raises(ValueError, match="clip 1 has 300 valid samples"):
        frontend([noise(800), noise(300)])
    with pytest.raises(ValueError, match="empty list"):
        frontend([])


def test_a_front_end_without_normalisation_says_what_to_give() -> None:
    with pytest.raises(ValueError, match="no normalisation.*AUDIOSET"):
        Frontend(geometry("tiny"), None)


def test_the_front_end_is_one_graph_to_the_compiler_and_exports_with_any_batch() -> None:
    # 24 mel bins: a setting that nothing has computed yet, so that tracing is what computes it first
    frontend = Frontend(geometry("tiny", num_frames=64, num_mel_bins=24), AUDIOSET)
    batch = torch.stack([waveform[:8000] for waveform, _ in recordings()])
    program = torch.export.export(frontend, (batch[:2],), dynamic_shapes=({0: torch.export.Dim("b")},))
    expected = frontend(batch)  # tracing has left nothing behind
    torch.testing.assert_close(program.module()(batch), expected, atol=1e-4, rtol=0)
    compiled = torch.compile(frontend, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(batch), expected, atol=1e-4, rtol=0)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_filterbank_even_with_tf32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        for waveform, expected in recordings():
            torch.testing.assert_close(fbank(waveform[None].cuda())[0].cpu(), expected, atol=1e-3, rtol=0)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
