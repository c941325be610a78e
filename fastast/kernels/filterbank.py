"""Waveforms -> normalised Kaldi filterbank of a model's input shape, in two Triton kernels around cuFFT.

Shapes: `b` batch, `f` frames that fit into the waveform, `w` samples of one frame, `k` bins of the power spectrum, `m`
mel bins.

The plain-torch front end is a chain of some twenty operations, each of which reads and writes all frames; here frames
are written once, windowed, and the spectrum is read once. Subtracting each frame's mean also removes the clip's mean,
which is therefore not subtracted first. A mel filter covers a short run of bins, which is summed in float32; the dense
product needs float64 to be safe from tf32.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from fastast.frontend import Normalisation, pad_or_cut
from fastast.frontend.filterbank import (
    FLOOR,
    FRAME_SECONDS,
    PRE_EMPHASIS,
    SHIFT_SECONDS,
    fbank,
    mel_filters,
    num_frames,
)
from fastast.kernels.launch import cdiv, check_launch, next_power_of_two, on_device, refuse_gradients

FRAMES_AT_ONCE = 4
"""Frames per program, in both kernels."""


def filterbank_reference(
    waveforms: Tensor,
    normalisation: Normalisation,
    frames: int,
    *,
    num_mel_bins: int = 128,
    sample_rate: int = 16_000,
    lengths: Tensor | None = None,
) -> Tensor:
    """Return the normalised filterbank that `fastast.frontend.Frontend` computes, in plain torch.

    waveforms: (b, samples) float32 in [-1, 1]. frames: number of frames in the result, padded with zeros before it is
    normalised, or cut. lengths: (b,) valid samples of every clip. Returns (b, frames, m) float32. Raises ValueError as
    `fbank` does.
    """
    features = fbank(waveforms, num_mel_bins=num_mel_bins, sample_rate=sample_rate, lengths=lengths, check=False)
    return normalisation(pad_or_cut(features, frames))


def filterbank(
    waveforms: Tensor,
    normalisation: Normalisation,
    frames: int,
    *,
    num_mel_bins: int = 128,
    sample_rate: int = 16_000,
    lengths: Tensor | None = None,
) -> Tensor:
    """Return the normalised filterbank that `fastast.frontend.Frontend` computes, with Triton and the library's FFT.

    Arguments and result as for `filterbank_reference`. Samples are not checked for NaN or infinities, which would make
    the host wait. Raises ValueError for another shape or dtype, clips shorter than one frame, a tensor that requires
    gradients, or a device that cannot run Triton.
    """
    window_length = int(sample_rate * FRAME_SECONDS)
    _check(waveforms, frames, lengths, window_length)
    check_launch("filterbank", waveforms=waveforms)
    refuse_gradients("filterbank", waveforms)
    from fastast.kernels._triton.filterbank import mel_energies, window_frames

    x = waveforms.contiguous()
    b, samples = x.shape
    known = min(frames, num_frames(samples, sample_rate=sample_rate))
    fft_length = next_power_of_two(window_length)
    window, first, weights = _constants(num_mel_bins, sample_rate, x.device)
    framed = torch.empty(b, known, fft_length, dtype=torch.float32, device=x.device)
    features = torch.empty(b, frames, num_mel_bins, dtype=torch.float32, device=x.device)
    whole = None
    if lengths is not None:  # frames that are entirely within the clip
        shift = int(sample_rate * SHIFT_SECONDS)
        inside = 1 + torch.div(lengths.to(x.device) - window_length, shift, rounding_mode="floor")
        whole = inside.to(torch.int32)
    with on_device(x):
        window_frames[(cdiv(b * known, FRAMES_AT_ONCE),)](
            x, window, framed, samples, known, b * known,
            SHIFT=int(sample_rate * SHIFT_SECONDS), W=window_length, FFT=fft_length, EMPHASIS=PRE_EMPHASIS,
            BF=FRAMES_AT_ONCE, num_warps=4, num_stages=1,
        )  # fmt: skip
        spectrum = torch.view_as_real(torch.fft.rfft(framed))  # (b, f, k, 2)
        mel_energies[(cdiv(b * frames, FRAMES_AT_ONCE),)](
            spectrum, first, weights, features, first if whole is None else whole, frames, known, b * frames,
            normalisation.mean, 1.0 / (2.0 * normalisation.std),
            K=fft_length // 2 + 1, M=num_mel_bins, MP=next_power_of_two(num_mel_bins), WIDEST=weights.shape[1],
            FLOOR=FLOOR, HAS_LENGTHS=whole is not None, BF=FRAMES_AT_ONCE, num_warps=4, num_stages=1,
        )  # fmt: skip
    return features


@functools.lru_cache(maxsize=16)
def _constants(num_mel_bins: int, sample_rate: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the window (w,), the first bin of every mel filter (m,) int32, and its weights from there (m, widest)."""
    length = int(sample_rate * FRAME_SECONDS)
    filters = mel_filters(num_mel_bins, sample_rate, fft_length=next_power_of_two(length))  # (k, m)
    used = filters > 0
    first = used.argmax(0)  # 0 for a filter that falls between two bins
    last = len(filters) - 1 - used[::-1].argmax(0)
    widest = int(np.where(used.any(0), last - first + 1, 1).max())
    bins = first[:, None] + np.arange(widest)  # (m, widest)
    weights = np.take_along_axis(np.pad(filters, ((0, widest), (0, 0))).T, bins, axis=1)
    with torch.inference_mode(False):  # a tensor made in inference mode could never be used in training
        return (
            torch.hann_window(length, periodic=False).to(device),
            torch.from_numpy(first.astype(np.int32)).to(device),
            torch.from_numpy(weights.astype(np.float32)).to(device),
        )


def _check(waveforms: Tensor, frames: int, lengths: Tensor | None, window_length: int) -> None:
    if waveforms.ndim != 2 or waveforms.shape[0] < 1 or waveforms.shape[1] < window_length:
        raise ValueError(
            f"filterbank: the waveforms have shape {tuple(waveforms.shape)}; give (batch, samples), at least one clip "
            f"and {window_length} samples (one frame)"
        )
    if waveforms.dtype != torch.float32:
        raise ValueError(f"filterbank: the waveforms are {waveforms.dtype}; give float32 in [-1, 1]")
    if frames < 1:
        raise ValueError(f"filterbank: frames = {frames}; it must be at least 1")
    if lengths is not None and lengths.shape != waveforms.shape[:1]:
        raise ValueError(f"filterbank: lengths have shape {tuple(lengths.shape)} for {waveforms.shape[0]} clips")
