"""Augmentation: mixing clips, masking, noise and shifts, a whole batch at a time and on the batch's device.

Shapes: `b` batch, `s` samples of a clip, `f` frames, `m` mel bins, `c` classes.

All chance comes from an explicit `torch.Generator`. It may live on another device than the clips: a generator on the
CPU gives the same augmentation on every device, one on a GPU draws there without a copy.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fastast.filterbank import fbank
from fastast.frontend import Frontend, pad_or_cut

MIXED_LABELS = ("weighted", "union")


class Batch(Protocol):
    """What the training loop hands over: anything with these four tensors."""

    @property
    def waveforms(self) -> Tensor:
        """Clips padded with zeros to one length, (b, s) float32 in [-1, 1]."""

    @property
    def lengths(self) -> Tensor:
        """Valid samples of every clip, (b,)."""

    @property
    def labels(self) -> Tensor:
        """Targets, (b, c) in [0, 1]."""

    @property
    def indices(self) -> Tensor:
        """Position of every clip in its data set, (b,)."""


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Return the seed of one batch's augmentation, so that any step can be replayed without the steps before it.

    `step` counts batches from the start of training, `rank` is the process. Seeds lie below 2**63 and collide with the
    probability of a 63-bit hash.
    """
    digest = hashlib.sha256(f"fastast augmentation {seed} {step} {rank}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


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
    """Mix every clip, with probability `rate`, with another of its batch.

    Both lose their mean, then the clip is lambda * first + (1 - lambda) * second less its own mean, with lambda drawn
    from Beta(alpha, alpha); the second is cut, or padded with zeros, to the first's length. Labels are mixed with the
    same lambda (`weighted`), or are the larger of both (`union`). A clip that is not mixed comes back unchanged, and
    so does a batch of one, which has no other clip.

    waveforms: (b, s), lengths: (b,) valid samples or None where all are, labels: (b, c). Returns both in those shapes.
    This is mixup on waveforms as AST has it (Gong et al. 2021, section 3.1; Tokozume et al. 2018), where the second
    clip comes from the whole set rather than from the batch.
    """
    if mixed_labels not in MIXED_LABELS:
        raise ValueError(f"mix_up: mixed_labels is {mixed_labels!r}; it must be one of {', '.join(MIXED_LABELS)}")
    b, s = waveforms.shape
    device = waveforms.device
    # Drawn in this order and always in full, so that a generator's state says how many batches it has seen.
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
    """Make every clip (b, s) louder or softer by a number of dB drawn evenly from -gain_db to gain_db."""
    decibels = (2 * _uniform((len(waveforms), 1), generator, waveforms.device) - 1) * gain_db
    return waveforms * torch.pow(10.0, decibels / 20)


def spec_augment(
    features: Tensor, *, freq_mask: int, time_mask: int, generator: torch.Generator, value: float = 0.0
) -> Tensor:
    """Set one random band of mel bins and one of frames of every clip to `value` (SpecAugment, Park et al. 2019).

    features: (b, f, m), before normalisation as in AST. The masks are those of torchaudio's FrequencyMasking and
    TimeMasking: a width drawn evenly from [0, mask), rounded down, so up to mask - 1 bins, and a start drawn evenly
    from [0, size - width), rounded down. 0 leaves an axis alone.
    Raises ValueError where a mask is wider than its axis.
    """
    _, f, m = features.shape
    for name, mask, size, axis in (
        ("freq_mask", freq_mask, m, "mel bins"),
        ("time_mask", time_mask, f, "frames"),
    ):
        if not 0 <= mask <= size:
            raise ValueError(
                f"spec_augment: {name} is {mask}; the filterbank has {size} {axis}, so it must be 0..{size}"
            )
    if freq_mask:
        masked = _span(len(features), freq_mask, m, generator, features.device)  # (b, m)
        features = features.masked_fill(masked[:, None, :], value)
    if time_mask:
        masked = _span(len(features), time_mask, f, generator, features.device)  # (b, f)
        features = features.masked_fill(masked[:, :, None], value)
    return features


def add_noise(features: Tensor, *, amplitude: float, generator: torch.Generator) -> Tensor:
    """Add even noise in [0, level) to every value, with a level for each clip drawn evenly from [0, amplitude).

    features: (b, f, m), normalised. AST's Speech Commands recipe has amplitude 0.1.
    """
    level = _uniform((len(features), 1, 1), generator, features.device) * amplitude
    return features + level * _uniform(tuple(features.shape), generator, features.device)


def time_shift(features: Tensor, *, frames: int, generator: torch.Generator) -> Tensor:
    """Roll every clip (b, f, m) along time by -frames to frames - 1 frames; what leaves one end enters the other.

    AST's Speech Commands recipe has 10 frames (100 ms).
    """
    if frames == 0:
        return features
    b, f, m = features.shape
    shift = torch.randint(-frames, frames, (b, 1), generator=generator, device=generator.device).to(features.device)
    source = (torch.arange(f, device=features.device) - shift) % f  # (b, f)
    return features.gather(1, source[:, :, None].expand(b, f, m))


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to a batch before the model sees it; the default does nothing."""

    mixup_rate: float = 0.0
    """Share of the clips that are mixed with another (AST: 0.5 for AudioSet, 0.6 for Speech Commands)."""
    mixup_alpha: float = 10.0
    """Both parameters of the Beta distribution of lambda."""
    mixup_labels: str = "weighted"
    """`weighted` by lambda as in AST, or `union`: what is heard in either clip counts in full."""
    gain_db: float = 0.0
    """Loudness changes by up to so many dB either way, before mixing."""
    freq_mask: int = 0
    """Mel bins that SpecAugment masks at most, plus one (AST: 48 of 128 for AudioSet)."""
    time_mask: int = 0
    """Frames that SpecAugment masks at most, plus one (AST: 192 of 1,024 for AudioSet)."""
    noise: float = 0.0
    """Largest level of the noise on the normalised filterbank (AST: 0.1 for Speech Commands)."""
    shift_frames: int = 0
    """Frames that a clip is rolled by at most (AST: 10 for Speech Commands)."""

    def __post_init__(self) -> None:
        for name in ("mixup_rate", "mixup_alpha", "gain_db", "noise"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ValueError(f"augmentation: {name} is {value!r}; it must be a number of at least 0")
        for name in ("freq_mask", "time_mask", "shift_frames"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"augmentation: {name} is {value!r}; it must be a whole number of at least 0")
        if self.mixup_rate > 1:
            raise ValueError(f"augmentation: mixup_rate is {self.mixup_rate!r}; it is a share, from 0 to 1")
        if self.mixup_alpha == 0:
            raise ValueError("augmentation: mixup_alpha is 0; it must be more than 0 (AST: 10)")
        if self.mixup_labels not in MIXED_LABELS:
            raise ValueError(
                f"augmentation: mixup_labels is {self.mixup_labels!r}; it must be one of {', '.join(MIXED_LABELS)}"
            )

    @torch.no_grad()
    def apply(self, batch: Batch, generator: torch.Generator, frontend: Frontend) -> tuple[Tensor, Tensor]:
        """Augment a batch: the normalised filterbank (b, f, m) and the labels (b, c).

        In AST's order: gain, mixing, filterbank, padding, masks, normalisation, noise, shift. `frontend` says the
        model's frames, mel bins and normalisation. Raises ValueError where a mask is wider than the filterbank.
        """
        waveforms, labels = batch.waveforms, batch.labels
        if self.gain_db:
            waveforms = random_gain(waveforms, gain_db=self.gain_db, generator=generator)
        if self.mixup_rate:
            waveforms, labels = mix_up(
                waveforms,
                labels,
                rate=self.mixup_rate,
                alpha=self.mixup_alpha,
                generator=generator,
                lengths=batch.lengths,
                mixed_labels=self.mixup_labels,
            )
        features = _features(waveforms, batch.lengths, frontend)  # (b, f, m)
        features = spec_augment(features, freq_mask=self.freq_mask, time_mask=self.time_mask, generator=generator)
        features = frontend.normalisation(features)
        if self.noise:
            features = add_noise(features, amplitude=self.noise, generator=generator)
        return time_shift(features, frames=self.shift_frames, generator=generator), labels

    @staticmethod
    @torch.no_grad()
    def plain(batch: Batch, frontend: Frontend) -> Tensor:
        """The normalised filterbank (b, f, m) of a batch without any augmentation, as in evaluation."""
        return frontend.normalisation(_features(batch.waveforms, batch.lengths, frontend))


def _features(waveforms: Tensor, lengths: Tensor, frontend: Frontend) -> Tensor:
    features = fbank(waveforms, num_mel_bins=frontend.num_mel_bins, lengths=lengths, check=frontend.check)
    return pad_or_cut(features, frontend.num_frames)  # (b, f, m)


def _uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def _beta(count: int, alpha: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """(count,) from Beta(alpha, alpha): X / (X + Y) of two Gamma(alpha) variables."""
    shape = torch.full((2, count), float(alpha), device=generator.device)
    # torch.distributions takes no generator; this is the operator it draws with, which does.
    x, y = torch._standard_gamma(shape, generator=generator)
    return (x / (x + y)).to(device)


def _span(count: int, mask: int, size: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """(count, size), true within one random span a row."""
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
    """(b, s) less each clip's mean over its valid samples; zeros beyond them."""
    if valid is None:
        return waveforms - waveforms.mean(1, keepdim=True)
    waveforms = waveforms * valid
    return (waveforms - waveforms.sum(1, keepdim=True) / valid.sum(1, keepdim=True)) * valid
