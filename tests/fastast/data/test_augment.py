"""Augmentation: hand computations in NumPy, statistics against the distributions that are promised, determinism."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from fastast.data.augment import SMALLEST_ALPHA, Augmentation, step_seed
from fastast.data.transforms import add_noise, mix_up, random_gain, spec_augment, time_shift
from fastast.frontend import SPEECH_COMMANDS, Frontend
from fastast.geometry import Geometry

SAMPLES = 16_000


@dataclass(frozen=True)
class Clips:
    waveforms: Tensor
    lengths: Tensor
    labels: Tensor
    indices: Tensor
    features: Tensor | None = None


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def frontend() -> Frontend:
    geometry = Geometry(embed_dim=32, depth=1, num_heads=2, num_classes=5, num_frames=112)
    return Frontend(geometry, SPEECH_COMMANDS)


@pytest.fixture
def clips() -> Clips:
    """Four clips, the second and third shorter than the batch is wide, with an offset of their mean."""
    waveforms = 0.1 * torch.randn(4, SAMPLES, generator=generator(9)) + 0.05
    lengths = torch.tensor([SAMPLES, 9_000, 12_000, SAMPLES])
    waveforms[torch.arange(SAMPLES) >= lengths[:, None]] = 0.0
    return Clips(waveforms, lengths, torch.eye(5)[:4], torch.arange(4))


def mixed_by_hand(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """AST's mixing of two clips of any lengths."""
    partner = np.zeros_like(first)
    shorter = min(len(first), len(second))
    partner[:shorter] = (second - second.mean())[:shorter]
    mixed = share * (first - first.mean()) + (1 - share) * partner
    return mixed - mixed.mean()


def test_mix_up_is_the_mixture_that_its_labels_say(clips: Clips) -> None:
    waveforms, labels = mix_up(
        clips.waveforms, clips.labels, rate=1.0, alpha=10.0, generator=generator(), lengths=clips.lengths
    )
    raw = [row[:length].double().numpy() for row, length in zip(clips.waveforms, clips.lengths, strict=True)]
    for i in range(4):
        share = float(labels[i, i])  # one-hot labels: the mixture's own weights
        (partner,) = [j for j in range(5) if j != i and labels[i, j] > 0]
        assert float(labels[i, partner]) == pytest.approx(1 - share, abs=1e-6)
        by_hand = mixed_by_hand(raw[i], raw[partner], share)
        length = int(clips.lengths[i])
        np.testing.assert_allclose(waveforms[i, :length].numpy(), by_hand, atol=1e-6)
        assert not waveforms[i, length:].any()


def test_mix_up_without_lengths_takes_every_sample(clips: Clips) -> None:
    waveforms, labels = mix_up(clips.waveforms, clips.labels, rate=1.0, alpha=10.0, generator=generator())
    share = float(labels[1, 1])
    (partner,) = [j for j in range(5) if j != 1 and labels[1, j] > 0]
    by_hand = mixed_by_hand(clips.waveforms[1].double().numpy(), clips.waveforms[partner].double().numpy(), share)
    np.testing.assert_allclose(waveforms[1].numpy(), by_hand, atol=1e-6)


@pytest.mark.parametrize("alpha", [SMALLEST_ALPHA, 0.2, 10.0])
def test_lambda_is_near_a_half_as_often_as_its_distribution_says(alpha: float) -> None:
    """That is where it is if both Gamma variables come out as the smallest number there is."""
    clips, waveforms = torch.eye(500), torch.zeros(500, 2)
    mixed = (mix_up(waveforms, clips, rate=1.0, alpha=alpha, generator=generator(seed))[1] for seed in range(16))
    shares = torch.cat([labels.diagonal() for labels in mixed])
    found = float(((shares > 0.4) & (shares < 0.6)).double().mean())
    low, high = scipy.stats.beta(alpha, alpha).cdf([0.4, 0.6])
    assert found == pytest.approx(high - low, abs=3 * (high - low) ** 0.5 / len(shares) ** 0.5)


def test_lambda_is_beta_distributed_and_partners_are_even() -> None:
    clips = torch.eye(500)
    waveforms = torch.zeros(500, 2)
    shares, steps = [], []
    for seed in range(8):
        _, labels = mix_up(waveforms, clips, rate=1.0, alpha=10.0, generator=generator(seed))
        own = labels.diagonal()
        shares.append(own.numpy())
        partner = (labels - torch.diag(own)).argmax(1)
        steps.append((partner - torch.arange(500)) % 500)
    assert scipy.stats.kstest(np.concatenate(shares), scipy.stats.beta(10, 10).cdf).pvalue > 0.01
    found = torch.cat(steps).numpy()
    assert found.min() >= 1  # never the clip itself
    assert len({tuple(step.tolist()) for step in steps}) == 8  # drawn anew for every batch
    assert abs(float((found % 2).mean()) - 0.5) < 0.05
    assert scipy.stats.kstest(found, scipy.stats.randint(1, 500).cdf).pvalue > 0.001


def test_mix_up_takes_the_share_of_clips_it_is_told() -> None:
    labels = torch.eye(2000)
    waveforms = torch.randn(2000, 2, generator=generator())
    mixed, targets = mix_up(waveforms, labels, rate=0.3, alpha=10.0, generator=generator(1))
    changed = (targets != labels).any(1)
    assert scipy.stats.binomtest(int(changed.sum()), 2000, 0.3).pvalue > 0.001
    assert torch.equal(mixed[~changed], waveforms[~changed])  # bit for bit, mean and all


def test_union_keeps_both_labels_whole(clips: Clips) -> None:
    _, labels = mix_up(clips.waveforms, clips.labels, rate=1.0, alpha=10.0, generator=generator(), mixed_labels="union")
    assert labels.unique().tolist() == [0.0, 1.0]
    assert labels.sum(1).tolist() == [2.0] * 4
    assert labels.diagonal().tolist() == [1.0] * 4


def test_a_batch_of_one_has_no_partner(clips: Clips) -> None:
    waveforms, labels = mix_up(clips.waveforms[:1], clips.labels[:1], rate=1.0, alpha=10.0, generator=generator())
    assert torch.equal(waveforms, clips.waveforms[:1])
    assert torch.equal(labels, clips.labels[:1])


def torchaudio_span(mask: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """The span of torchaudio.functional.mask_along_axis, as its source says it."""
    value = rng.random() * mask
    low = rng.random() * (size - value)
    return int(low), int(low) + int(value)


def test_masks_are_distributed_as_torchaudios() -> None:
    count, mask, size = 4000, 12, 40
    masked = spec_augment(torch.ones(count, 3, size), freq_mask=mask, time_mask=0, generator=generator()) == 0
    assert torch.equal(masked[:, 0], masked[:, 2])  # whole mel bins
    spans = masked[:, 0].numpy()
    widths = spans.sum(1)
    assert widths.min() == 0
    assert widths.max() == mask - 1
    rng = np.random.default_rng(0)
    by_hand = [torchaudio_span(mask, size, rng) for _ in range(40_000)]
    expected = np.bincount([b - a for a, b in by_hand], minlength=mask)
    observed = np.bincount(widths, minlength=mask)
    assert scipy.stats.chi2_contingency([observed, expected]).pvalue > 0.001
    starts = spans.argmax(1)[widths > 0]
    starts_by_hand = [a for a, b in by_hand if b > a]
    assert scipy.stats.ks_2samp(starts, starts_by_hand).pvalue > 0.001
    ends = starts + widths[widths > 0]
    assert scipy.stats.ks_2samp(ends, [b for a, b in by_hand if b > a]).pvalue > 0.001


def test_a_mask_is_one_run_in_every_clip_and_axis() -> None:
    features = torch.ones(200, 50, 40)
    masked = spec_augment(features, freq_mask=20, time_mask=30, generator=generator(), value=-3.0) == -3.0
    for clip in masked.numpy():
        rows, columns = clip.all(1), clip.all(0)
        assert (clip == (rows[:, None] | columns[None, :])).all()
        for line in (rows, columns):
            assert np.abs(np.diff(np.concatenate([[0], line.astype(int), [0]]))).sum() in (0, 2)
    assert len({clip.tobytes() for clip in masked.numpy()}) > 150  # every clip has its own
    assert bool((features == 1).all())  # the input is left alone


def test_masks_are_loud_as_in_ast_or_the_mean(clips: Clips, frontend: Frontend) -> None:
    """The bins that both mask are the same; SPEECH_COMMANDS has the mean -6.845978 and the deviation 5.5654526."""
    plain = Augmentation.plain(clips, frontend)
    loud, mean = (
        Augmentation(freq_mask=64, mask_fill=fill).apply(clips, generator(2), frontend)[0] for fill in ("zero", "mean")
    )
    masked = (loud != plain).any(1)  # (b, m); padding is 0 too
    assert 0 < masked.sum() < masked.numel()
    where = masked[:, None].expand_as(plain)
    torch.testing.assert_close(loud[where], torch.full((int(where.sum()),), 6.845978 / (2 * 5.5654526)))
    torch.testing.assert_close(mean[where], torch.zeros(int(where.sum())), rtol=0, atol=1e-6)
    assert torch.equal(mean[~where], plain[~where])
    assert "mask_fill" not in Augmentation().question()  # recipes of before there was a choice stay what they were
    assert Augmentation(mask_fill="mean").question()["mask_fill"] == "mean"


@pytest.mark.oracle
def test_masks_are_torchaudios_for_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    functional = pytest.importorskip("torchaudio.functional")
    draws = torch.rand(2, 64, 1, generator=generator())
    monkeypatch.setattr("fastast.data.transforms._uniform", lambda *_: draws)
    ours = spec_augment(torch.ones(64, 5, 40), freq_mask=12, time_mask=0, generator=generator())
    given = iter(draws)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: next(given).view(64, 1))
    theirs = functional.mask_along_axis_iid(torch.ones(64, 1, 40, 5), 12, 0.0, 2)
    assert torch.equal(ours, theirs[:, 0].transpose(1, 2))


@pytest.mark.parametrize(("freq_mask", "time_mask", "text"), [(41, 0, "40 mel bins"), (0, 51, "50 frames")])
def test_a_mask_wider_than_its_axis_is_refused(freq_mask: int, time_mask: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        spec_augment(torch.ones(1, 50, 40), freq_mask=freq_mask, time_mask=time_mask, generator=generator())


def test_noise_has_one_even_level_a_clip() -> None:
    noise = add_noise(torch.zeros(300, 40, 50), amplitude=0.1, generator=generator()).numpy()
    assert noise.min() >= 0
    levels = noise.max((1, 2))  # 2,000 draws a clip: the largest is within 1 % of the level
    assert scipy.stats.kstest(levels / 0.1, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1  # and noise of its own
    loudest = noise[levels.argmax()].ravel()
    assert scipy.stats.kstest(loudest / loudest.max(), "uniform").pvalue > 0.001


def test_a_shift_rolls_as_numpy_does() -> None:
    features = torch.randn(400, 30, 4, generator=generator())
    shifted = time_shift(features, frames=5, generator=generator(1)).numpy()
    found = []
    for before, after in zip(features.numpy(), shifted, strict=True):
        (shift,) = [s for s in range(-6, 7) if np.array_equal(np.roll(before, s, 0), after)]
        found.append(shift)
    assert set(found) == set(range(-5, 5))  # numpy's randint(-5, 5), as in AST
    assert scipy.stats.chisquare(np.bincount(np.array(found) + 5)).pvalue > 0.001


def test_gain_is_even_in_decibels() -> None:
    louder = random_gain(torch.ones(2000, 3), gain_db=6.0, generator=generator())
    decibels = 20 * np.log10(louder.numpy())
    assert np.ptp(decibels, axis=1).max() < 1e-5  # one gain a clip
    assert scipy.stats.kstest((decibels[:, 0] + 6) / 12, "uniform").pvalue > 0.001


def test_without_augmentation_it_is_the_front_end(clips: Clips, frontend: Frontend) -> None:
    features, labels = Augmentation().apply(clips, generator(), frontend)
    whole = [row[:length] for row, length in zip(clips.waveforms, clips.lengths, strict=True)]
    assert torch.equal(features, frontend(whole))
    assert torch.equal(Augmentation.plain(clips, frontend), features)
    assert torch.equal(labels, clips.labels)
    assert features.shape == (4, 112, 128)


EVERYTHING = Augmentation(
    mixup_rate=0.5, gain_db=3.0, freq_mask=24, time_mask=30, noise=0.1, shift_frames=10, mixup_alpha=2.5
)


def test_the_same_seed_gives_the_same_batch_and_another_another(clips: Clips, frontend: Frontend) -> None:
    (first, labels), (second, again), (other, _) = (
        EVERYTHING.apply(clips, generator(seed), frontend) for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert torch.equal(labels, again)
    assert not torch.equal(first, other)
    assert bool(first.isfinite().all())
    assert not first.requires_grad


def test_chance_comes_from_the_generator_alone(clips: Clips, frontend: Frontend) -> None:
    state = torch.random.get_rng_state()
    EVERYTHING.apply(clips, generator(), frontend)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_masks_come_before_normalisation_and_noise_after(clips: Clips, frontend: Frontend) -> None:
    masked = Augmentation(freq_mask=64).apply(clips, generator(2), frontend)[0]
    plain = Augmentation.plain(clips, frontend)
    changed = masked[0] != plain[0]
    assert changed.any()
    zero = (0 - SPEECH_COMMANDS.mean) / (2 * SPEECH_COMMANDS.std)
    np.testing.assert_allclose(masked[0][changed].numpy(), zero, rtol=1e-6)
    noisy = Augmentation(noise=0.1).apply(clips, generator(), frontend)[0]
    assert float((noisy - plain).min()) >= 0
    assert float((noisy - plain).max()) < 0.1


def test_the_generator_advances_by_the_same_amount_whatever_is_mixed(clips: Clips) -> None:
    states = []
    for rate in (0.01, 1.0):
        own = generator()
        mix_up(clips.waveforms, clips.labels, rate=rate, alpha=10.0, generator=own)
        states.append(own.get_state())
    assert torch.equal(*states)


def test_step_seeds_differ_between_steps_ranks_and_runs() -> None:
    seeds = {step_seed(seed, step, rank) for seed in range(3) for step in range(500) for rank in range(2)}
    assert len(seeds) == 3000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(7, 11, 1) == step_seed(7, 11, 1)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Augmentation(mixup_rate=1.5), "mixup_rate is 1.5"),
        (lambda: Augmentation(mixup_alpha=0.0), "mixup_alpha is 0"),
        (lambda: Augmentation(mixup_alpha=0.01), r"mixup_alpha is 0\.01; it must be from 0\.05 to 1e\+06"),
        (lambda: Augmentation(mixup_alpha=1e308), r"mixup_alpha is 1e\+308; it must be from"),
        (lambda: Augmentation(freq_mask=-1), "freq_mask is -1"),
        (lambda: Augmentation(time_mask=1.5), "time_mask is 1.5"),
        (lambda: Augmentation(noise=float("nan")), "noise is nan"),
        (lambda: Augmentation(mixup_labels="max"), "weighted, union"),
        (lambda: Augmentation(mask_fill="noise"), "mask_fill is 'noise'; it must be zero or mean"),
        (lambda: mix_up(torch.ones(2, 2), torch.ones(2, 1), rate=1, alpha=1, generator=generator(), mixed_labels="x"),
         "weighted, union"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.gpu
def test_a_generator_on_the_cpu_gives_a_gpu_the_same_augmentation(clips: Clips, frontend: Frontend) -> None:
    there = Clips(*(getattr(clips, name).cuda() for name in ("waveforms", "lengths", "labels", "indices")))
    on_cpu, labels = EVERYTHING.apply(clips, generator(5), frontend)
    on_gpu, labels_there = EVERYTHING.apply(there, generator(5), frontend)
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-3, rtol=0)
    torch.testing.assert_close(labels_there.cpu(), labels)
    own = torch.Generator(device="cuda").manual_seed(5)
    assert EVERYTHING.apply(there, own, frontend)[0].device.type == "cuda"
