"""Implement the steps of augmentation; each function transforms a whole batch, on its device.

Shapes: `b` batch, `s` samples of a clip, `f` frames, `m` mel bins, `c` classes.

All randomness comes from an explicit `torch.Generator`, which may be on another device than the clips: a generator on
the CPU gives the same augmentation on every device, and one on a GPU draws there without a copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIXED_LABELS = ("weighted", "union")


def mix_up(
    waveforms: Tensor,
    labels: Tensor,
    *,
    rate: float,
    alpha: float,
    generator: torch.Generator,
    lengths: Tensor | None = None,
    mixed_labels: str = "weighted",
) -> tuple[Tensor, Tensor]:
    """Mix every clip, with probability `rate`, with another clip of its batch.

    Both have their mean removed; the result is lambda * first + (1 - lambda) * second, again with its mean removed,
    where lambda is drawn from Beta(alpha, alpha). The second clip is cut, or padded with zeros, to the length of the
    first. Labels are mixed with the same lambda (`weighted`), or are the maximum of the two (`union`). A clip that is
    not mixed is returned unchanged, and so is a batch of one, which has no other clip.

    waveforms: (b, s), lengths: (b,) valid samples or None where all are, labels: (b, c). Returns waveforms and labels
    in those shapes. This is AST's mixup on waveforms (Gong et al. 2021, section 3.1; Tokozume et al. 2018), except that
    AST takes the second clip from the whole set.
    """
    if mixed_labels not in MIXED_LABELS:
        raise ValueError(f"mix_up: mixed_labels is {mixed_labels!r}; it must be one of {', '.join(MIXED_LABELS)}")
    b, s = waveforms.shape
    device = waveforms.device
    # Drawn in this order and always in full, so that a generator's state reflects how many batches it has seen.
    chosen = _uniform((b,), generator, device) < rate  # (b,)
    first_share = _beta(b, alpha, generator, device)[:, None]  # (b, 1)
    step = torch.randint(1, max(2, b), (b,), generator=generator, device=generator.device).to(device)
    if b == 1 or rate == 0:
        return waveforms, labels
    partner = (torch.arange(b, device=device) + step) % b  # (b,), never the clip itself
    valid = _valid(lengths, s, waveforms)  # (b, s) or None
    centred = _less_mean(waveforms, valid)
    mixed = first_share * centred + (1 - first_share) * centred[partner]
    mixed = _less_mean(mixed, valid)
    first, second = labels, labels[partner]
    if mixed_labels == "union":
        mixed_targets = torch.maximum(first, second)
    else:
        mixed_targets = first_share * first + (1 - first_share) * second
    return (
        torch.where(chosen[:, None], mixed, waveforms),
        torch.where(chosen[:, None], mixed_targets.to(labels.dtype), labels),
    )


def random_gain(waveforms: Tensor, *, gain_db: float, generator: torch.Generator) -> Tensor:
    """Make every clip (b, s) louder or softer by a number of dB drawn uniformly from -gain_db to gain_db."""
    decibels = (2 * _uniform((len(waveforms), 1), generator, waveforms.device) - 1) * gain_db
    return waveforms * torch.pow(10.0, decibels / 20)


def spec_augment(
    features: Tensor, *, freq_mask: int, time_mask: int, generator: torch.Generator, value: float = 0.0
) -> Tensor:
    """Set one random band of mel bins and one of frames of every clip to `value` (SpecAugment, Park et al. 2019).

    features: (b, f, m), before normalisation as in AST. The masks are those of torchaudio's FrequencyMasking and
    TimeMasking: a width drawn uniformly from [0, mask), rounded down, so up to mask - 1 bins, and a start drawn
    uniformly from [0, size - width), rounded down. A mask of 0 leaves its axis unchanged. Raises ValueError where a
    mask is wider than its axis.
    """
    _, f, m = features.shape
    for name, mask, size, axis in (
        ("freq_mask", freq_mask, m, "mel bins"),
        ("time_mask", time_mask, f, "frames"),
    ):
        if not 0 <= mask <= size:
            raise ValueError(
                f"augmentation.{name} is {mask}; the filterbank has {size} {axis}, so it must be from 0 to {size}"
            )
    if freq_mask:
        masked = _span(len(features), freq_mask, m, generator, features.device)  # (b, m)
        features = features.masked_fill(masked[:, None, :], value)
    if time_mask:
        masked = _span(len(features), time_mask, f, generator, features.device)  # (b, f)
        features = features.masked_fill(masked[:, :, None], value)
    return features


def add_noise(features: Tensor, *, amplitude: float, generator: torch.Generator) -> Tensor:
    """Add uniform noise in [0, level) to every value, with a level for each clip drawn uniformly from [0, amplitude).

    features: (b, f, m), normalised. AST's Speech Commands recipe uses amplitude 0.1.
    """
    level = _uniform((len(features), 1, 1), generator, features.device) * amplitude
    return features + level * _uniform(tuple(features.shape), generator, features.device)


def time_shift(features: Tensor, *, frames: int, generator: torch.Generator) -> Tensor:
    """Roll every clip (b, f, m) along time by -frames to frames - 1 frames; what leaves at one end enters at the other.

    AST's Speech Commands recipe uses 10 frames (100 ms).
    """
    if frames == 0:
        return features
    b, f, m = features.shape
    shift = torch.randint(-frames, frames, (b, 1), generator=generator, device=generator.device).to(features.device)
    source = (torch.arange(f, device=features.device) - shift) % f  # (b, f)
    return features.gather(1, source[:, :, None].expand(b, f, m))


def _uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def _beta(count: int, alpha: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return (count,) draws from Beta(alpha, alpha), as X / (X + Y) of two Gamma(alpha) variables."""
    shape = torch.full((2, count), float(alpha), device=generator.device)
    # torch.distributions takes no generator; the operator that it draws with does.
    x, y = torch._standard_gamma(shape, generator=generator)
    return (x / (x + y)).to(device)


def _span(count: int, mask: int, size: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return a mask (count, size) that is true within one random span per row."""
    width, start = _uniform((2, count, 1), generator, device)
    width = width * mask
    first = (start * (size - width)).long()
    position = torch.arange(size, device=device)
    return (position >= first) & (position < first + width.long())


def _valid(lengths: Tensor | None, s: int, waveforms: Tensor) -> Tensor | None:
    if lengths is None:
        return None
    return torch.arange(s, device=waveforms.device) < lengths.to(waveforms.device)[:, None]


def _less_mean(waveforms: Tensor, valid: Tensor | None) -> Tensor:
    """Return (b, s) minus each clip's mean over its valid samples, with zeros beyond them."""
    if valid is None:
        return waveforms - waveforms.mean(1, keepdim=True)
    waveforms = waveforms * valid
    return (waveforms - waveforms.sum(1, keepdim=True) / valid.sum(1, keepdim=True)) * valid
