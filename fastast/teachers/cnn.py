"""CNNs of timm on spectrograms: the EfficientNet of PSLA and CMKD, and any other by its name.

Shapes: `b` batch, `f` frames, `m` mel bins, `d` channels, `f'` and `m'` frames and mel bins of the feature map,
`c` classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.frontend import Normalisation
from fastast.teachers.pooling import AttentionPooling, MeanPooling
from fastast.teachers.protocol import Teacher, TeacherError, check_fbank

POOLINGS = ("mean", "attention")


class CnnTeacher(Teacher):
    """A CNN of timm with one input channel; frequency is averaged, time is pooled."""

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
        reduce: Sequence[int] = (1, 1),
    ) -> None:
        """`name`: of the architecture in timm. `pooling`: `mean` (CMKD) or `attention` with `num_heads` heads (PSLA).
        `pretrained`: timm's ImageNet weights, downloaded, their three colour channels summed. `reduce`: frames and mel
        bins of which the filterbank's mean is taken first, such as (2, 2): a quarter of the work.

        Raises TeacherError for a network without a feature map, one that has no stochastic depth, or a wrong option.
        """
        super().__init__(num_classes=num_classes)
        self.normalisation = normalisation
        if pooling not in POOLINGS:
            raise TeacherError(f"{name}: pooling is {pooling!r}; it must be one of {', '.join(POOLINGS)}")
        self.reduce = _reduction(name, reduce)
        depth = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        try:
            backbone = timm.create_model(
                name, pretrained=pretrained, in_chans=1, num_classes=0, global_pool="", **depth
            )
        except TypeError as error:
            raise TeacherError(f"{name}: timm cannot build it on one channel{' with drop_path_rate' * bool(depth)}: {error}")
        # Rows of a spectrogram's pixels lie together: what CPUs (and GPUs in half precision) convolve fastest.
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.options = {"pooling": pooling, "num_heads": num_heads, "drop_path_rate": drop_path_rate}
        if self.reduce != (1, 1):
            self.options["reduce"] = list(self.reduce)
        channels = self.backbone.num_features
        self.pooling = (
            MeanPooling(channels, num_classes)
            if pooling == "mean"
            else AttentionPooling(channels, num_classes, num_heads)
        )

    def forward(self, fbank: Tensor) -> Tensor:
        """Normalised filterbank (b, f, m) -> logits (b, c)."""
        check_fbank(self.name, fbank)
        x = fbank.transpose(1, 2).unsqueeze(1)  # (b, 1, m, f)
        if self.reduce != (1, 1):
            frames, bins = self.reduce
            x = F.avg_pool2d(x, (bins, frames), ceil_mode=True)
        features = self.backbone.forward_features(x.contiguous(memory_format=torch.channels_last))  # (b, d, m', f')
        if features.ndim != 4 or features.shape[1] != self.backbone.num_features:
            raise TeacherError(
                f"{self.name}: timm's {type(self.backbone).__name__} gives {tuple(features.shape)}, no map (batch, "
                f"{self.backbone.num_features} channels, mel bins, frames); take a CNN, such as resnet18"
            )
        return self.pooling(features.mean(2))


def is_timm_model(name: str) -> bool:
    """Return whether timm knows an architecture of this name."""
    return timm.is_model(name)


def backbone_size(name: str) -> int:
    """Return how many numbers an architecture's weights hold, without its classifier: on the meta device, for nothing."""
    with torch.device("meta"):
        backbone = timm.create_model(name, pretrained=False, in_chans=1, num_classes=0)
    return sum(tensor.numel() for tensor in backbone.state_dict().values())


def _reduction(name: str, reduce: Sequence[int]) -> tuple[int, int]:
    """Return frames and mel bins to average. Raises TeacherError unless they are two whole numbers of at least 1."""
    values = tuple(reduce) if isinstance(reduce, Sequence) and not isinstance(reduce, str) else (reduce,)
    if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or not 1 <= v <= 16 for v in values):
        raise TeacherError(
            f"{name}: reduce is {reduce!r}; it must be frames and mel bins to average, two whole numbers from 1 to 16, "
            "such as [2, 2]"
        )
    return values[0], values[1]
