"""Training clips as what int8 is calibrated on.

Shapes: `k` clips, `f` frames, `m` mel bins.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastast.data.training_set import TrainingSet, read_or_replace
from fastast.frontend import Frontend

CALIBRATION_CLIPS = 64


def calibration_clips(data: TrainingSet, frontend: Frontend, count: int = CALIBRATION_CLIPS) -> Tensor:
    """Return filterbanks (k, f, m) of `count` clips spread evenly over a set, of all where it has fewer.

    A corrupt clip is replaced by the next one; raises DataError where many are corrupt in a row.
    """
    count = min(count, len(data))
    items = (read_or_replace(data, index * len(data) // count, epoch=0) for index in range(count))
    clips = [frontend([item.waveform]) for item in items if item.waveform is not None]
    return torch.cat(clips)
