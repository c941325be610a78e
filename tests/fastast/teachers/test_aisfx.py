"""The sound-effects CNN: its input against a spectrogram made from the waveform, its weights' file, its layers."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import nn

from fastast.data.audio import load_audio
from fastast.frontend import AUDIOSET, pad_or_cut
from fastast.frontend.filterbank import fbank
from fastast.teachers import TeacherError, aisfx, create_teacher
from fastast.teachers.aisfx import AisfxTeacher

BIRD = Path(__file__).parents[3] / "fastast/assets/examples/bird_and_water.ogg"


def teacher(**options: object) -> AisfxTeacher:
    torch.manual_seed(0)
    made = create_teacher("aisfx_cnn9", 5, normalisation=AUDIOSET, **options).eval()
    assert isinstance(made, AisfxTeacher)
    return made


def spectrogram(waveform: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the network was trained on, made from 16 kHz: 44.1 kHz, 6 dB softer, 96 HTK bands of unit sum."""
    louder = scipy.signal.resample_poly(waveform, 441, 160) * 10 ** (-6 / 20)
    frames = np.lib.stride_tricks.sliding_window_view(louder, 2048)[::1024] * np.hanning(2048)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2

    def mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
        return 2595 * np.log10(1 + hz / 700)

    edges = np.linspace(0, mel(np.array([22_050.0]))[0], 98)
    position = mel(np.arange(1025) * 44_100 / 2048)[:, None]
    rising = (position - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - position) / (edges[2:] - edges[1:-1])
    filters = np.minimum(rising, falling).clip(min=0)
    return np.log10(1 + 1e4 * (power @ (filters / filters.sum(0)))) / 9.457798957824707


def translated(waveform: NDArray[np.float64]) -> NDArray[np.float32]:
    features = AUDIOSET(fbank(torch.from_numpy(waveform).float()[None]))
    return teacher().translate(features)[0].numpy()


def test_the_translated_filterbank_is_close_to_the_networks_own_spectrogram() -> None:
    waveform = load_audio(BIRD)[:80_000].astype(np.float64)
    ours, own = translated(waveform), spectrogram(waveform)
    assert ours.shape == own.shape == (214, 96)
    assert np.corrcoef(ours.ravel(), own.ravel())[0, 1] > 0.98
    assert np.abs(ours - own).mean() < 0.02  # of a range of 0 to 1


def test_its_level_is_right_in_every_band() -> None:
    noise = np.random.default_rng(0).normal(size=160_000) * 0.1
    ours, own = translated(noise), spectrogram(noise)
    frames = min(len(ours), len(own))
    difference = (ours[:frames] - own[:frames]).mean(0)
    below_7_khz = aisfx.htk_centres() < 7_000
    # 0.01 is 0.9 dB of power here.
    assert np.abs(difference[below_7_khz]).max() < 0.01
    assert abs(difference[below_7_khz].mean()) < 0.005
    silent = aisfx.htk_centres() >= 8_000
    assert not ours[:, silent].any()


def test_padding_and_masks_are_silence() -> None:
    """The network pools by a maximum over time: what is 0 in a filterbank, a loud sound in its unit, drowns a clip."""
    model = teacher()
    sound = fbank(torch.from_numpy(load_audio(BIRD)[:80_000]).float()[None])  # (1, 498, 128)
    padded = AUDIOSET(pad_or_cut(sound, 548))
    assert not model.translate(padded)[0, -20:].any()
    masked = sound.clone()
    masked[:, 100:200] = 0
    assert not model.translate(AUDIOSET(masked))[0, 45:84].any()
    masked[:] = sound
    masked[:, :, 40:80] = 0
    inside = (aisfx.htk_centres() > 1_000) & (aisfx.htk_centres() < 2_500)
    assert not model.translate(AUDIOSET(masked))[..., inside].any()


def test_gradients_flow_through_the_translation() -> None:
    features = torch.randn(1, 100, 128, requires_grad=True)
    teacher()(features).sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def packed(path: Path, monkeypatch: pytest.MonkeyPatch, *, wheel: bool) -> dict[str, torch.Tensor]:
    """Write a file like the package's, with random weights, and make its hash the expected one."""
    source = teacher().blocks
    state = {}
    for key, value in source.state_dict().items():
        number, rest = key.split(".", 1)
        state[f"embedding_net.conv_block{int(number) + 1}.{rest}"] = torch.randn_like(value.float()).to(value.dtype)
    state["fc.0.0.weight"] = torch.zeros(2, 2)  # the old classifiers, which are left out
    buffer = io.BytesIO()
    torch.save((state, {"sounds": (0, np.int64(82))}), buffer)
    content = buffer.getvalue()
    monkeypatch.setattr(aisfx, "SHA256", hashlib.sha256(content).hexdigest())
    if wheel:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("aisfx/models/checkpoint.pth", content)
    else:
        path.write_bytes(content)
    return state


@pytest.mark.parametrize("wheel", [True, False])
def test_weights_come_from_the_wheel_or_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: bool) -> None:
    path = tmp_path / "weights"
    state = packed(path, monkeypatch, wheel=wheel)
    loaded = teacher(weights=path)
    for index, name in enumerate(("conv_block1", "conv_block2", "conv_block3", "conv_block4")):
        for key, value in loaded.blocks[index].state_dict().items():
            assert torch.equal(value, state[f"embedding_net.{name}.{key}"])
    assert loaded.head.weight.shape == (5, 512)


def test_another_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(b"something else")
    with pytest.raises(TeacherError, match=r"checkpoint\.pth: not the weights of aisfx 0\.1\.2"):
        teacher(weights=path)
    with pytest.raises(FileNotFoundError, match="pip download"):
        teacher(weights=tmp_path / "none.whl")


def test_the_layers_are_those_of_the_paper() -> None:
    """CNN9 of DCASE's cross-task baseline: max pooling after three blocks, mean over frequency, maximum over time."""
    model = teacher()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
    features = torch.randn(2, 60, 128)
    x = model.translate(features)[:, None]
    for index, block in enumerate(model.blocks):
        for convolution, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):  # type: ignore[union-attr]
            x = torch.conv2d(x, convolution.weight, padding=1)  # type: ignore[arg-type, union-attr]
            mean, variance = norm.running_mean, norm.running_var  # type: ignore[union-attr]
            x = ((x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()).clamp(min=0)  # type: ignore[index]
        if index < 3:
            b, d, t, k = x.shape
            x = x[:, :, : t // 2 * 2, : k // 2 * 2].reshape(b, d, t // 2, 2, k // 2, 2).amax((3, 5))
    torch.testing.assert_close(model.embed(features), x.mean(-1).amax(-1), atol=1e-5, rtol=1e-4)
    parameters = sum(p.numel() for p in model.blocks.parameters())
    assert parameters == 4_686_144  # 4.69 million


@pytest.mark.oracle
def test_the_network_is_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = pytest.importorskip("aisfx.models.cnn2d").EmbeddingNet("max", 3, 1, 64).eval()
    model = teacher()
    blocks = {f"conv_block{int(k[0]) + 1}{k[1:]}": v for k, v in model.blocks.state_dict().items()}
    theirs.load_state_dict(blocks)
    own = torch.rand(2, 100, 96)
    monkeypatch.setattr(model, "translate", lambda _: own)
    assert torch.equal(model.embed(torch.zeros(2, 232, 128)), theirs(own))
