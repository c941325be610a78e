"""The filterbank in Triton against the plain-torch front end, which has tests against Kaldi's, and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastast.frontend import AUDIOSET, Frontend, Normalisation
from fastast.frontend.filterbank import mel_filters
from fastast.geometry import Geometry
from fastast.kernels.filterbank import _constants, filterbank, filterbank_reference

PLAIN = Normalisation(mean=0.0, std=0.5)
"""Leaves the logarithms as they are."""


def noise(device: torch.device, b: int, samples: int) -> Tensor:
    return (torch.randn(b, samples, generator=torch.Generator().manual_seed(samples)) / 10).to(device)


def definition(wave: np.ndarray, bins: int) -> np.ndarray:
    """Log-mel energies of one clip in float64, frame by frame; a float32 window shows in the quietest bins (3e-4)."""
    window = np.hanning(400)
    rows = []
    for begin in range(0, len(wave) - 399, 160):
        frame = wave[begin : begin + 400].astype(np.float64)
        frame = frame - frame.mean()
        frame = (frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])) * window
        rows.append(np.abs(np.fft.rfft(frame, 512)) ** 2 @ mel_filters(bins, 16_000, fft_length=512))
    return np.log(np.maximum(rows, np.finfo(np.float32).eps))


@pytest.mark.slow
@pytest.mark.parametrize(("b", "samples"), [(1, 400), (3, 2_000), (2, 2_039)])
@pytest.mark.parametrize("bins", [128, 23])
def test_energies_are_those_of_the_definition(device: torch.device, b: int, samples: int, bins: int) -> None:
    waves = noise(device, b, samples)
    features = filterbank(waves, PLAIN, 1 + (samples - 400) // 160, num_mel_bins=bins)
    for clip in range(b):
        want = definition(waves[clip].cpu().numpy(), bins)
        np.testing.assert_allclose(features[clip].cpu().numpy(), want, atol=1e-3, rtol=0)


@pytest.mark.parametrize("frames", [16, 17, 30])
def test_padding_cutting_and_normalising_are_the_front_ends(device: torch.device, frames: int) -> None:
    waves = noise(device, 2, 3_000)  # 17 frames
    geometry = Geometry(embed_dim=16, num_heads=1, num_classes=2, num_frames=frames)
    got = filterbank(waves, AUDIOSET, frames)
    torch.testing.assert_close(got, Frontend(geometry, AUDIOSET)(waves), atol=2e-4, rtol=0)
    torch.testing.assert_close(got, filterbank_reference(waves, AUDIOSET, frames), atol=2e-4, rtol=0)


def test_frames_beyond_a_clips_length_are_padding(device: torch.device) -> None:
    waves = noise(device, 3, 2_000)
    lengths = torch.tensor([2_000, 719, 400], device=device)
    waves[1, 719:] = 0.7  # whatever stands in the padding
    got = filterbank(waves, AUDIOSET, 14, lengths=lengths)
    torch.testing.assert_close(got, filterbank_reference(waves, AUDIOSET, 14, lengths=lengths), atol=1e-4, rtol=0)
    padding = -AUDIOSET.mean / (2 * AUDIOSET.std)
    torch.testing.assert_close(got[1, 2:].cpu(), torch.full((12, 128), padding))


def test_an_offset_changes_nothing(device: torch.device) -> None:
    waves = noise(device, 1, 1_000)
    torch.testing.assert_close(filterbank(waves + 0.5, PLAIN, 4), filterbank(waves, PLAIN, 4), atol=2e-3, rtol=0)


def test_silence_is_the_floor(device: torch.device) -> None:
    features = filterbank(torch.zeros(1, 800, device=device), PLAIN, 3)
    torch.testing.assert_close(features.cpu(), torch.full((1, 3, 128), float(np.log(np.finfo(np.float32).eps))))


@pytest.mark.parametrize("bins", [128, 40])
def test_filters_as_runs_are_the_matrix(bins: int) -> None:
    _, first, weights = _constants(bins, 16_000, torch.device("cpu"))
    dense = np.zeros((257 + weights.shape[1], bins))
    for m in range(bins):
        dense[int(first[m]) : int(first[m]) + weights.shape[1], m] = weights[m].numpy()
    np.testing.assert_allclose(dense[:257], mel_filters(bins, 16_000, fft_length=512), atol=1e-7)
    assert not dense[257:].any()


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 399\).*400 samples"):
        filterbank(torch.zeros(1, 399), AUDIOSET, 4)
    with pytest.raises(ValueError, match=r"torch.float64; give float32"):
        filterbank(torch.zeros(1, 800, dtype=torch.float64), AUDIOSET, 4)
    with pytest.raises(ValueError, match=r"frames = 0"):
        filterbank(torch.zeros(1, 800), AUDIOSET, 0)
    with pytest.raises(ValueError, match=r"lengths have shape \(2,\) for 1 clips"):
        filterbank(torch.zeros(1, 800), AUDIOSET, 3, lengths=torch.tensor([800, 800]))
