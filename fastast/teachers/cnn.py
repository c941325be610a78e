"""EfficientNet on spectrograms, the CNN of PSLA and CMKD.

Shapes: `b` batch, `f` frames, `m` mel bins, `d` channels, `f'` and `m'` frames and mel bins of the feature map,
`c` classes.
"""

from __future__ import annotations

import timm
from torch import Tensor

from fastast.frontend import Normalisation
from fastast.teachers.pooling import AttentionPooling, MeanPooling
from fastast.teachers.protocol import Teacher, TeacherError, check_fbank

POOLINGS = ("mean", "attention")


class EfficientNetTeacher(Teacher):
    """An EfficientNet of timm with one input channel; frequency is averaged, time is pooled."""

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
    ) -> None:
        """`name`: of the architecture in timm. `pooling`: `mean` (CMKD) or `attention` with `num_heads` heads (PSLA).
        `pretrained`: timm's ImageNet weights, downloaded, their three colour channels summed."""
        super().__init__(num_classes=num_classes)
        self.normalisation = normalisation
        if pooling not in POOLINGS:
            raise TeacherError(f"{name}: pooling is {pooling!r}; it must be one of {', '.join(POOLINGS)}")
        self.backbone = timm.create_model(
            name,
            pretrained=pretrained,
            in_chans=1,
            num_classes=0,
            global_pool="",
            drop_path_rate=drop_path_rate,
        )
        self.options = {"pooling": pooling, "num_heads": num_heads, "drop_path_rate": drop_path_rate}
        channels = self.backbone.num_features
        self.pooling = (
            MeanPooling(channels, num_classes)
            if pooling == "mean"
            else AttentionPooling(channels, num_classes, num_heads)
        )

    def forward(self, fbank: Tensor) -> Tensor:
        """Normalised filterbank (b, f, m) -> logits (b, c)."""
        check_fbank(self.name, fbank)
        features = self.backbone(fbank.transpose(1, 2).unsqueeze(1))  # (b, d, m', f')
        return self.pooling(features.mean(2))
