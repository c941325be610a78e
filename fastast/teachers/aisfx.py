"""The CNN of aiSFX (Ma and Lerch, ISMIR 2022), trained on sound effects, with a new head.

Shapes: `b` batch, `f` frames, `m` mel bins of the filterbank (16 kHz, every 10 ms), `t` frames and `k` mel bands of
this network's own input (44.1 kHz, every 1024 samples), `d` channels, `c` classes.

Its weights ship inside the PyPI package `aisfx` 0.1.2 (licence file: CC-BY-4.0) and are not part of FastAST:
`pip download --no-deps aisfx==0.1.2` fetches the wheel, whose path is the option `weights`; the package itself need not
be installed, and its pinned dependencies are old.

The network was trained on a different spectrogram. So that teacher and student see the same augmented one, the
filterbank is translated: back to energies, from Kaldi's mel bins at 16 kHz to 96 HTK bands up to 22.05 kHz, from steps
of 10 ms to 23.2 ms, and to log10(1 + 10^4 power) divided by its maximum in training. Frequencies above 8 kHz, padding
and masked parts become silence.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fastast.frontend import Normalisation
from fastast.frontend.filterbank import PRE_EMPHASIS, SAMPLE_RATE, SHIFT_SECONDS, mel_filters
from fastast.teachers.protocol import Teacher, TeacherError, check_fbank

SHA256 = "499ea75909c932a2f94c35fa722fa4fabc5bcb7e84917209cc5f7402627b7eb5"
"""SHA-256 of `aisfx/models/checkpoint.pth` in version 0.1.2."""
MEMBER = "aisfx/models/checkpoint.pth"
"""Path of the weights inside the wheel."""
RATE, WINDOW, HOP, BANDS = 44_100, 2048, 1024, 96
"""The network's own spectrogram: sample rate in Hz, window and hop in samples, and number of mel bands."""
LARGEST = 9.457798957824707
"""Largest value of the spectrograms that the network was trained on; its inputs are divided by it."""
REPLAY_GAIN = 10 ** (-6 / 20)
"""Gain of the network's own audio loader, which makes everything 6 dB quieter."""
CHANNELS = (64, 128, 256, 512)
"""Number of output channels of each block."""
FILLED = 1e-4
"""A log energy this close to 0 is padding or a mask; only a few values in a hundred thousand of real sounds are."""


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, inputs, t, k) to (b, outputs, t, k)."""
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class AisfxTeacher(Teacher):
    """CNN9 on a translated filterbank, with its classifiers replaced by one linear layer."""

    translation: Tensor
    """(m, k) matrix from mel energies to the powers of the network's bands."""

    def __init__(
        self,
        name: str = "aisfx_cnn9",
        *,
        num_classes: int,
        normalisation: Normalisation | None,
        weights: str | Path | None = None,
        num_mel_bins: int = 128,
    ) -> None:
        """`weights`: the wheel or its `checkpoint.pth`; without it, the weights are random.

        Raises TeacherError without a normalisation, which is needed to find the energies, and for any other file.
        """
        super().__init__(num_classes=num_classes)
        if normalisation is None:
            raise TeacherError(
                f"{name}: no normalisation; give that of its future inputs, which is needed to find their energies: "
                f"create_teacher({name!r}, ..., normalisation=fastast.frontend.AUDIOSET)"
            )
        self.normalisation = normalisation
        self.num_mel_bins = num_mel_bins
        self.options = {"num_mel_bins": num_mel_bins}
        self.blocks = nn.ModuleList(ConvBlock(i, o) for i, o in zip((1, *CHANNELS), CHANNELS, strict=False))
        self.head = nn.Linear(CHANNELS[-1], num_classes)
        self.register_buffer("translation", torch.from_numpy(band_translation(num_mel_bins)).float(), persistent=False)
        if weights is not None:
            self.blocks.load_state_dict(read_aisfx_weights(Path(weights)))

    def forward(self, fbank: Tensor) -> Tensor:
        """Map a normalised filterbank (b, f, m) to logits (b, c)."""
        return self.head(self.embed(fbank))

    def embed(self, fbank: Tensor) -> Tensor:
        """Map a normalised filterbank (b, f, m) to the network's embedding (b, d)."""
        check_fbank("aisfx_cnn9", fbank, num_mel_bins=self.num_mel_bins, min_frames=20)
        x = self.translate(fbank).unsqueeze(1)  # (b, 1, t, k)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index < 3:
                x = F.max_pool2d(x, 2)
        return x.mean(3).amax(2)  # (b, d)

    def translate(self, fbank: Tensor) -> Tensor:
        """Map a normalised filterbank (b, f, m) to the spectrogram that the network was trained on, (b, t, k)."""
        assert self.normalisation is not None
        with torch.autocast(fbank.device.type, enabled=False):
            log_energy = self.normalisation.undo(fbank.float())
            # Padding and masks are 0 before normalisation, which as a log energy is a loud sound; make them silence.
            energy = log_energy.exp().masked_fill(log_energy.abs() < FILLED, 0)  # (b, f, m)
            power = energy @ self.translation  # (b, f, k)
            length = max(8, round(fbank.shape[1] * SHIFT_SECONDS * RATE / HOP))
            power = F.interpolate(power.transpose(1, 2), size=length, mode="linear", align_corners=False)
            return torch.log10(1 + 1e4 * power.transpose(1, 2)) / LARGEST  # (b, t, k)


def band_translation(num_mel_bins: int) -> NDArray[np.float64]:
    """Return the matrix (m, k) from Kaldi's mel energies at 16 kHz to this network's mean powers at 44.1 kHz.

    A Kaldi bin divided by the sum of its filter's weights is the mean power around its centre. There, pre-emphasis is
    undone, and window energy and sample rate are replaced by the network's; its bands are interpolated between the
    centres.
    """
    fft = 512
    filters = mel_filters(num_mel_bins, SAMPLE_RATE, fft_length=fft)  # (fft / 2 + 1, m)
    weight = filters.sum(0)  # (m,)
    used = weight > 0
    hz = np.arange(fft // 2 + 1) * SAMPLE_RATE / fft
    centre = (hz @ filters)[used] / weight[used]
    emphasis = np.abs(1 - PRE_EMPHASIS * np.exp(-2j * np.pi * centre / SAMPLE_RATE)) ** 2
    kaldi_window = (np.hanning(400) ** 2).sum() * SAMPLE_RATE
    own_window = (np.hanning(WINDOW) ** 2).sum() * RATE
    gain = REPLAY_GAIN**2 * own_window / kaldi_window / (emphasis * weight[used])  # (m used,)
    own_centre = htk_centres()
    inverse = np.zeros((len(weight), BANDS))
    position = np.interp(own_centre, centre, np.arange(len(centre)))
    below = np.floor(position).astype(int).clip(0, len(centre) - 2)
    share = position - below
    rows = np.flatnonzero(used)
    for band in np.flatnonzero(own_centre < SAMPLE_RATE / 2):
        inverse[rows[below[band]], band] += (1 - share[band]) * gain[below[band]]
        inverse[rows[below[band] + 1], band] += share[band] * gain[below[band] + 1]
    return inverse


def htk_centres() -> NDArray[np.float64]:
    """Return the centres (Hz) of the network's 96 bands, equally spaced on HTK's mel scale up to 22.05 kHz."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    mels = np.linspace(0, highest, BANDS + 2)[1:-1]
    return 700 * (10 ** (mels / 2595) - 1)


def read_aisfx_weights(path: Path) -> dict[str, Tensor]:
    """Return the convolutions' weights from the wheel or its `checkpoint.pth`, under the keys of `blocks`.

    Raises FileNotFoundError if the file does not exist, TeacherError for any file but that of version 0.1.2.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there are no weights; `pip download --no-deps aisfx==0.1.2` fetches the wheel that contains them"
        )
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if MEMBER in archive.namelist():
                content = archive.read(MEMBER)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise TeacherError(
            f"{path}: not the weights of aisfx 0.1.2 (SHA-256 {found[:12]}…, expected {SHA256[:12]}…); give the wheel "
            f"or its {MEMBER}"
        )
    # The file contains a NumPy scalar (a number of classes), whose constructor had another name in NumPy 1.
    scalar = np.int64(0).__reduce__()[0]
    allowed: list[Any] = [np.dtype, np.dtypes.Int64DType, scalar, (scalar, "numpy.core.multiarray.scalar")]
    with torch.serialization.safe_globals(allowed):
        state, _ = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    prefix = "embedding_net.conv_block"
    renamed = {}
    for key, value in state.items():
        if key.startswith(prefix):
            number, rest = key[len(prefix) :].split(".", 1)
            renamed[f"{int(number) - 1}.{rest}"] = value
    return renamed
