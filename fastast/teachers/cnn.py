"""timm's CNNs on spectrograms: the EfficientNet of PSLA and CMKD, and any other by its name.

Shapes: `b` batch, `f` frames, `m` mel bins, `d` channels, `f'` and `m'` frames and mel bins of the feature map,
`c` classes.
"""

from __future__ import annotations

import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.frontend import Normalisation
from fastast.teachers.pooling import AttentionPooling, MeanPooling
from fastast.teachers.protocol import Teacher, TeacherError, check_fbank

POOLINGS = ("mean", "attention")
"""Names of the kinds of pooling over time."""


class CnnTeacher(Teacher):
    """A CNN from timm with one input channel; frequency is averaged, then time is pooled."""

    def __init__(
        self,
        name: str,
        *,
        num_classes: int,
        normalisation: Normalisation | None = None,
        pooling: str = "mean",
        num_heads: int = 4,
        pretrained: bool = False,
        drop_path_rate: float = 0.0,
        average_frames: int = 1,
        average_bins: int = 1,
    ) -> None:
        """`name`: that of the architecture in timm. `pooling`: `mean` (CMKD) or `attention` with `num_heads` heads
        (PSLA). `pretrained`: start from timm's ImageNet weights, downloaded, with their three colour channels summed.
        `average_frames`, `average_bins`: how many frames and mel bins are averaged into one first; 2 and 2 reduce the
        work to a quarter.

        Raises TeacherError for a wrong option, and for a network that timm cannot build for one channel or with
        stochastic depth; `forward` raises it for a network without a feature map.
        """
        super().__init__(num_classes=num_classes)
        self.normalisation = normalisation
        if pooling not in POOLINGS:
            raise TeacherError(f"{name}: pooling is {pooling!r}; it must be one of {', '.join(POOLINGS)}")
        for option, value in (("average_frames", average_frames), ("average_bins", average_bins)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 16:
                raise TeacherError(f"{name}: {option} is {value!r}; it must be a whole number from 1 to 16")
        self.averaged = (average_bins, average_frames)
        depth = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        try:
            backbone = timm.create_model(
                name, pretrained=pretrained, in_chans=1, num_classes=0, global_pool="", **depth
            )
        except TypeError as error:
            how = "with drop_path_rate" if depth else "for one channel"
            raise TeacherError(f"{name}: timm cannot build it {how}: {error}") from error
        # Channels last: the memory layout that CPUs (and GPUs in half precision) convolve fastest.
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.options = {"pooling": pooling, "num_heads": num_heads, "drop_path_rate": drop_path_rate}
        if self.averaged != (1, 1):
            self.options |= {"average_frames": average_frames, "average_bins": average_bins}
        channels = self.backbone.num_features
        self.pooling = (
            MeanPooling(channels, num_classes)
            if pooling == "mean"
            else AttentionPooling(channels, num_classes, num_heads)
        )

    def forward(self, fbank: Tensor) -> Tensor:
        """Map a normalised filterbank (b, f, m) to logits (b, c)."""
        check_fbank(self.name, fbank)
        x = fbank.transpose(1, 2).unsqueeze(1)  # (b, 1, m, f)
        if self.averaged != (1, 1):
            x = F.avg_pool2d(x, self.averaged, ceil_mode=True)
        features = self.backbone.forward_features(x.contiguous(memory_format=torch.channels_last))  # (b, d, m', f')
        if features.ndim != 4 or features.shape[1] != self.backbone.num_features:
            raise TeacherError(
                f"{self.name}: timm's {type(self.backbone).__name__} gives {tuple(features.shape)}, not a map (batch, "
                f"{self.backbone.num_features} channels, mel bins, frames); use a CNN, such as resnet18"
            )
        return self.pooling(features.mean(2))


def is_timm_model(name: str) -> bool:
    """Return whether timm has an architecture of this name."""
    return timm.is_model(name)


def backbone_size(name: str) -> int:
    """Return the number of values in an architecture's state without its classifier, allocating nothing."""
    with torch.device("meta"):
        backbone = timm.create_model(name, pretrained=False, in_chans=1, num_classes=0)
    return sum(tensor.numel() for tensor in backbone.state_dict().values())
