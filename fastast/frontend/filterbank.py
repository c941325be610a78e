"""Compute Kaldi's log-mel filterbank of waveforms, batched and on any device.

Shapes: `b` batch, `f` frames (25 ms long, every 10 ms), `w` samples of one frame, `k` bins of the power spectrum,
`m` mel bins.

AST was trained on the filterbank of Kaldi (`compute-fbank-feats --htk-compat --window-type=hanning`), which other
front ends do not reproduce: frames are neither centred nor padded, each has its mean removed, and the window is
symmetric.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastast.scale import MAX_PEAK, describe_peak
from fastast.system.compiling import constant_result

SAMPLE_RATE = 16_000
"""Sample rate (Hz) that every published AST was trained with."""
FRAME_SECONDS, SHIFT_SECONDS = 0.025, 0.010
PRE_EMPHASIS = 0.97
LOWEST_HZ = 20.0
FLOOR = float(torch.finfo(torch.float32).eps)
"""Lowest energy: smaller ones are raised to it before the logarithm, as in Kaldi."""


def num_frames(samples: int, *, sample_rate: int = SAMPLE_RATE) -> int:
    """Return how many whole frames fit into `samples` samples; 0 where not even one does."""
    window, shift = _frame_length(sample_rate)
    return 0 if samples < window else 1 + (samples - window) // shift


def fbank(
    waveforms: Tensor,
    *,
    num_mel_bins: int = 128,
    sample_rate: int = SAMPLE_RATE,
    lengths: Tensor | None = None,
    check: bool = True,
) -> Tensor:
    """Compute Kaldi's log-mel filterbank of a batch of waveforms, in float32.

    waveforms: (b, samples), floating point in [-1, 1]. lengths: (b,) valid samples of every clip, for clips padded to
    one length; the padding then has no effect, and frames that extend beyond the clip are 0.
    Returns (b, f, m), the natural logarithm of the energy; f = 1 + (samples - 400) // 160 at 16 kHz.

    Raises ValueError for another shape or type, clips shorter than a frame, NaN and infinities, or samples far beyond
    [-1, 1], naming the clip. Values are not checked with `check=False` (checking makes the host wait for the device) or
    inside a compiled graph.
    """
    window_length, shift = _frame_length(sample_rate)
    _check_shapes(waveforms, lengths, window_length, sample_rate)
    device = waveforms.device
    # Autocast would compute the energies with a mantissa of 8 bits.
    with torch.autocast(device.type, enabled=False):
        x = waveforms.to(torch.float32)
        if lengths is None:
            x = x - x.mean(1, keepdim=True)  # (b, samples)
        else:
            lengths = lengths.to(device)
            beyond = torch.arange(x.shape[1], device=device) >= lengths[:, None]  # (b, samples)
            x = x.masked_fill(beyond, 0.0)
            x = (x - x.sum(1, keepdim=True) / lengths[:, None]).masked_fill(beyond, 0.0)
        if check and not torch.compiler.is_compiling():
            _check_values(x.abs().amax(1), lengths, x.shape[1], window_length, sample_rate)
        frames = x.unfold(1, window_length, shift)  # (b, f, w)
        frames = frames - frames.mean(-1, keepdim=True)
        previous = torch.cat([frames[..., :1], frames[..., :-1]], -1)
        # Tensors made while tracing belong to the trace, so only constants for ordinary tensors are cached.
        constants = _kept_constants if type(waveforms) is Tensor else _constants
        window, mel = constants(window_length, num_mel_bins, sample_rate, device)
        frames = (frames - PRE_EMPHASIS * previous) * window
        power = torch.fft.rfft(frames, 2 * (mel.shape[0] - 1)).abs().square()  # (b, f, k)
        # `mel` is float64 on CUDA, where a float32 product may silently be computed in TF32 (3 digits).
        energy = (power.to(mel.dtype) @ mel).to(torch.float32)  # (b, f, m)
        features = energy.clamp_min(FLOOR).log()
        if lengths is not None:
            whole = 1 + torch.div(lengths - window_length, shift, rounding_mode="floor")  # (b,)
            padding = torch.arange(features.shape[1], device=device) >= whole[:, None]  # (b, f)
            features = features.masked_fill(padding[..., None], 0.0)
    return features


def check_waveforms(waveforms: Tensor, lengths: Tensor | None, *, values: bool = True) -> None:
    """Raise the ValueErrors of `fbank` without computing it, for clips (b, samples) at 16 kHz, padded with zeros.

    With `values`, the samples are checked too, for which the host waits for the device.
    """
    window, _ = _frame_length(SAMPLE_RATE)
    _check_shapes(waveforms, lengths, window, SAMPLE_RATE)
    if values:
        peaks = waveforms.abs().amax(1)  # (b,)
        _check_values(peaks, lengths, waveforms.shape[1], window, SAMPLE_RATE)


def _frame_length(sample_rate: int) -> tuple[int, int]:
    return int(sample_rate * FRAME_SECONDS), int(sample_rate * SHIFT_SECONDS)


def _constants(window_length: int, num_mel_bins: int, sample_rate: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the window (w,) and the mel filters (k, m) on a device."""
    with torch.inference_mode(False):  # a tensor made in inference mode could never be used in training
        # Rounded as in torchaudio: the window's last bit shows in a quiet bin next to a loud one (5e-3).
        window = torch.hann_window(window_length, periodic=False)
        mel = torch.from_numpy(mel_filters(num_mel_bins, sample_rate, fft_length=_power_of_two(window_length)))
        mel_dtype = torch.float64 if device.type == "cuda" else torch.float32
        return window.to(device), mel.to(device, mel_dtype)


_cached_constants = functools.lru_cache(maxsize=16)(_constants)


@constant_result
def _kept_constants(
    window_length: int, num_mel_bins: int, sample_rate: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the same tensors for the same settings; the compiler treats them as constants."""
    return _cached_constants(window_length, num_mel_bins, sample_rate, device)


def _power_of_two(length: int) -> int:
    return 1 << (length - 1).bit_length()


def mel_filters(num_mel_bins: int, sample_rate: int, *, fft_length: int) -> NDArray[np.float64]:
    """Return Kaldi's triangular filters, (fft_length // 2 + 1, m), equally spaced from 20 Hz to half the sample rate.

    The scale is 1127 ln(1 + Hz / 700). With 128 filters over 512 points the one centred at 91 Hz falls between two
    bins of the spectrum and is empty: AST was trained with it, so it stays. The highest bin has no weight.
    """

    def mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1127.0 * np.log1p(hz / 700.0)

    lowest, highest = mel(np.array([LOWEST_HZ, sample_rate / 2]))
    edges = np.linspace(lowest, highest, num_mel_bins + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]  # (m,)
    bins = mel(np.arange(fft_length // 2 + 1) * sample_rate / fft_length)[:, None]  # (k, 1)
    filters = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(min=0.0)  # (k, m)
    filters[-1] = 0.0
    return filters


def _check_shapes(waveforms: Tensor, lengths: Tensor | None, window: int, sample_rate: int) -> None:
    if waveforms.ndim != 2:
        raise ValueError(
            f"fbank: the waveforms have shape {tuple(waveforms.shape)}; give (batch, samples); "
            "for one clip, waveform[None]"
        )
    if not waveforms.is_floating_point():
        raise ValueError(
            f"fbank: the waveforms are {waveforms.dtype}; give floating point in [-1, 1] "
            "(int16 / 32768), or use Frontend"
        )
    if lengths is not None and lengths.shape != waveforms.shape[:1]:
        raise ValueError(f"fbank: lengths have shape {tuple(lengths.shape)} for {waveforms.shape[0]} clips")
    if waveforms.shape[1] < window:
        raise ValueError(
            f"fbank: clips of {waveforms.shape[1]} samples; one frame of {1000 * FRAME_SECONDS:g} ms takes {window} "
            f"at {sample_rate} Hz. Pad the clips with silence, or leave them out"
        )


def _check_values(peaks: Tensor, lengths: Tensor | None, width: int, window: int, sample_rate: int) -> None:
    """Raise ValueError for wrong lengths or samples; peaks: (b,) largest absolute sample of every clip."""
    if lengths is not None and bool(((lengths < window) | (lengths > width)).any()):
        index = int(((lengths < window) | (lengths > width)).nonzero()[0])
        raise ValueError(
            f"fbank: clip {index} has {int(lengths[index])} valid samples; at {sample_rate} Hz it must be from "
            f"{window} (one frame) to {width} (the batch's width)"
        )
    if not bool((peaks <= MAX_PEAK).all()):  # false for NaN too
        index = int((peaks <= MAX_PEAK).logical_not().nonzero()[0])
        if not bool(peaks[index].isfinite()):
            fault = "holds NaN or infinite samples; repair it or leave it out"
            raise ValueError(f"fbank: clip {index} of the batch {fault}")
        raise ValueError(f"fbank: clip {index} of the batch: {describe_peak(float(peaks[index]))}")
