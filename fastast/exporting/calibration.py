"""Training clips on which int8 is calibrated.

Shapes: `k` clips, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastast.data.training_set import TrainingSet, read_or_replace
from fastast.frontend import Frontend

CALIBRATION_CLIPS = 64
"""Default number of calibration clips."""


def spread_indices(total: int, count: int = CALIBRATION_CLIPS) -> list[int]:
    """Return `count` indices spread evenly over `total`, or all if there are fewer."""
    count = min(count, total)
    return [index * total // count for index in range(count)]


def calibration_clips(data: TrainingSet, frontend: Frontend, indices: Sequence[int]) -> Tensor:
    """Return filterbanks (k, f, m) of clips of a data set; a corrupt clip is replaced by the next.

    Raises DataError if many in a row are corrupt.
    """
    items = (read_or_replace(data, index, epoch=0) for index in indices)
    return torch.cat([frontend([item.waveform]) for item in items if item.waveform is not None])
