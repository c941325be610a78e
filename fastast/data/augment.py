"""Define augmentation as a value: what is done to a batch before the model sees it, in which order and with which seed.

Shapes: `b` batch, `s` samples of a clip, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from fastast.data.training_set import Batch
from fastast.data.transforms import MIXED_LABELS, add_noise, mix_up, random_gain, spec_augment, time_shift
from fastast.finite import is_number
from fastast.frontend import Frontend, pad_or_cut
from fastast.frontend.filterbank import fbank

MASK_FILLS = ("zero", "mean")
SMALLEST_ALPHA, LARGEST_ALPHA = 0.05, 1e6
"""Range of `mixup_alpha`: below it, Gamma variables underflow float32 so often that lambda is 0.5 far too often."""


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Return the seed of one batch's augmentation, so that any step can be replayed without the steps before it.

    `step` counts batches from the start of training, `rank` is the process. Seeds are below 2**63 and collide with the
    probability of a 63-bit hash.
    """
    digest = hashlib.sha256(f"fastast augmentation {seed} {step} {rank}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation of a batch before the model sees it; with the defaults, none."""

    mixup_rate: float = 0.0
    """Probability that a clip is mixed with another of its batch (AST: 0.5 for AudioSet, 0.6 for Speech Commands)."""
    mixup_alpha: float = 10.0
    """Both parameters of the Beta distribution from which lambda is drawn, the weight of the first clip (AST: 10)."""
    mixup_labels: str = "weighted"
    """Labels of a mixed clip: `weighted` by lambda as in AST, or `union`, all labels of both clips in full."""
    gain_db: float = 0.0
    """Largest change in loudness before mixing, in dB either way."""
    freq_mask: int = 0
    """Number of mel bins that SpecAugment masks, exclusive upper bound (AST: 48 of 128 for AudioSet). 0: none."""
    time_mask: int = 0
    """Number of frames that SpecAugment masks, exclusive upper bound (AST: 192 of 1,024 for AudioSet). 0: none."""
    mask_fill: str = "zero"
    """Value of masked bins before normalisation: `zero` as in AST, which is a loud sound, or the `mean` of the training
    set."""
    noise: float = 0.0
    """Largest level of the uniform noise added to the normalised filterbank (AST: 0.1 for Speech Commands)."""
    shift_frames: int = 0
    """Largest number of frames by which a clip is rolled along time, either way (AST: 10 for Speech Commands)."""

    def __post_init__(self) -> None:
        for name in ("mixup_rate", "mixup_alpha", "gain_db", "noise"):
            value = getattr(self, name)
            if not is_number(value) or value < 0:
                raise ValueError(f"augmentation: {name} is {value!r}; it must be a number of at least 0")
        for name in ("freq_mask", "time_mask", "shift_frames"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"augmentation: {name} is {value!r}; it must be a whole number of at least 0")
        if self.mixup_rate > 1:
            raise ValueError(f"augmentation: mixup_rate is {self.mixup_rate!r}; it must be a share from 0 to 1")
        if not SMALLEST_ALPHA <= self.mixup_alpha <= LARGEST_ALPHA:
            raise ValueError(
                f"augmentation: mixup_alpha is {self.mixup_alpha!r}; it must be from {SMALLEST_ALPHA:g} to "
                f"{LARGEST_ALPHA:g} (AST: 10)"
            )
        if self.mask_fill not in MASK_FILLS:
            raise ValueError(f"augmentation: mask_fill is {self.mask_fill!r}; it must be {' or '.join(MASK_FILLS)}")
        if self.mixup_labels not in MIXED_LABELS:
            raise ValueError(
                f"augmentation: mixup_labels is {self.mixup_labels!r}; it must be one of {', '.join(MIXED_LABELS)}"
            )

    def question(self) -> dict[str, object]:
        """Return the settings as plain values; omit `mask_fill` where it is AST's, so that older recipes stay equal."""
        values = dataclasses.asdict(self)
        if self.mask_fill == Augmentation.mask_fill:
            del values["mask_fill"]
        return values

    @torch.no_grad()
    def apply(self, batch: Batch, generator: torch.Generator, frontend: Frontend) -> tuple[Tensor, Tensor]:
        """Augment a batch and return its normalised filterbank (b, f, m) and its labels (b, c).

        The order is AST's: gain, mixing, filterbank, padding, masks, normalisation, noise, shift. `frontend` gives the
        model's frames, mel bins and normalisation. Raises ValueError where a mask is wider than the filterbank, and
        where the batch holds filterbanks that this augmentation or the model cannot use.
        """
        waveforms, labels = batch.waveforms, batch.labels
        if batch.features is not None and (self.gain_db or self.mixup_rate):
            raise ValueError(
                "augmentation: gain_db and mixup_rate change samples, but this cache holds filterbanks; make one with "
                "--kind flac, or set both to 0"
            )
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
        features = _features(batch, waveforms, frontend)  # (b, f, m)
        fill = 0.0 if self.mask_fill == "zero" else frontend.normalisation.mean
        features = spec_augment(
            features, freq_mask=self.freq_mask, time_mask=self.time_mask, generator=generator, value=fill
        )
        features = frontend.normalisation(features)
        if self.noise:
            features = add_noise(features, amplitude=self.noise, generator=generator)
        return time_shift(features, frames=self.shift_frames, generator=generator), labels

    @staticmethod
    @torch.no_grad()
    def plain(batch: Batch, frontend: Frontend) -> Tensor:
        """Return the normalised filterbank (b, f, m) of a batch without any augmentation, as in evaluation."""
        return frontend.normalisation(_features(batch, batch.waveforms, frontend))


def _features(batch: Batch, waveforms: Tensor, frontend: Frontend) -> Tensor:
    """Return the filterbank (b, f, m) of a batch, computed or from a cache, with the model's number of frames."""
    if batch.features is None:
        features = fbank(waveforms, num_mel_bins=frontend.num_mel_bins, lengths=batch.lengths, check=frontend.check)
    elif (features := batch.features).shape[2] != frontend.num_mel_bins:
        raise ValueError(
            f"data: the cache holds filterbanks of {features.shape[2]} mel bins, but the model takes "
            f"{frontend.num_mel_bins}; make a cache with --kind flac"
        )
    return pad_or_cut(features, frontend.num_frames)  # (b, f, m)
