"""Check that an exported model agrees with PyTorch on real sound.

Shapes: `k` clips, `b` batch, `s` samples, `f` frames, `m` mel bins, `c` classes.

Which tokens merge is a discrete decision. If the last pair that merges and the first that does not are equally similar
to within rounding (in float32 about one clip in 200 at r = 40 of the tiny model), two correct implementations can
decide differently, and logits then differ by hundredths. Such a clip proves nothing and is left out: it is one on which
PyTorch itself decides differently when its input moves by a millionth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastast.exporting.errors import ExportError
from fastast.exporting.metadata import Number
from fastast.frontend import Frontend
from fastast.frontend.filterbank import SAMPLE_RATE

if TYPE_CHECKING:
    from fastast.frontend import Normalisation
    from fastast.geometry import Geometry

TOLERANCE: dict[Number, float] = {"float32": 1e-4, "int8": 0.25}
"""Largest difference of logits, relative to PyTorch's largest, that rounding or 8 bits explain."""
EXAMPLE = Path(__file__).parents[1] / "assets" / "examples" / "bird_and_water.ogg"
"""The recording that clips are cut from."""
CLIPS = 8
"""Number of clips to compare."""
_NUDGE, _NUDGES = 1e-6, 8
"""Size, relative to the input's deviation, and number of the nudges that show whether PyTorch itself is undecided."""
_BATCHES = (1, 4, 3)
"""Sizes of the batches that the clips are split into."""

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well a runtime agrees with PyTorch."""

    clips: int
    """Number of clips that were run."""
    undecided: int
    """How many of them PyTorch itself is undecided on, and so do not count."""
    difference: float
    """Largest difference of the other clips' logits, relative to the largest logit of all clips unless all are 0."""
    tolerance: float
    """Largest difference allowed."""

    def __str__(self) -> str:
        aside = f"; {self.undecided} more were left out as undecided" if self.undecided else ""
        return (
            f"logits of {self.clips - self.undecided} clips differ from PyTorch's by at most {self.difference:.2g} of "
            f"the largest one (allowed: {self.tolerance:g}){aside}"
        )


def real_clips(geometry: Geometry, normalisation: Normalisation) -> Tensor:
    """Return filterbanks (k, f, m) of the example scene, each with another starting point, repeated as needed."""
    from fastast.data.audio import load_audio

    scene = load_audio(EXAMPLE, sample_rate=SAMPLE_RATE)  # (s,)
    samples = (geometry.num_frames - 1) * 160 + 400
    starts = np.arange(CLIPS) * len(scene) // CLIPS
    clips = np.stack([np.resize(np.roll(scene, -start), samples) for start in starts])  # (k, s)
    return Frontend(geometry, normalisation)(torch.from_numpy(clips))


def check_agreement(expected: Forward, exported: Forward, clips: Tensor, *, dtype: Number) -> Agreement:
    """Compare the logits of `exported` on clips (k, f, m), in several batches, with PyTorch's, which are `expected`.

    Raises ExportError with the difference if it exceeds the tolerance, or if PyTorch is undecided on more than half of
    the clips.
    """
    with torch.inference_mode():
        reference = expected(clips).numpy()  # (k, c)
        found = np.concatenate([exported(batch).numpy() for batch in clips.split(_BATCHES)])  # (k, c)
    scale, tolerance = float(np.abs(reference).max()) or 1.0, TOLERANCE[dtype]  # a head of zeros: absolute
    differences = _largest(found - reference) / scale  # (k,)
    doubtful = ~(differences <= tolerance)  # true for NaN, too
    undecided = np.zeros(len(clips), dtype=bool)
    if dtype == "float32" and doubtful.any() and np.isfinite(found).all():
        undecided[doubtful] = _is_undecided(expected, clips[torch.from_numpy(doubtful)], tolerance * scale)
    if undecided.mean() > 0.5:
        raise ExportError(
            f"export: PyTorch's own logits of {undecided.sum()} of {len(clips)} clips depend on the last digit of the "
            "input, so nothing can be compared; nothing was written. Are these trained weights?"
        )
    agreement = Agreement(
        clips=len(clips),
        undecided=int(undecided.sum()),
        difference=float(differences[~undecided].max()),
        tolerance=tolerance,
    )
    if not agreement.difference <= tolerance:
        raise ExportError(f"export: {agreement}; this is too much, so nothing was written")
    return agreement


def _is_undecided(expected: Forward, clips: Tensor, limit: float) -> NDArray[np.bool_]:
    """Return which clips (k, f, m) have logits that jump by more than `limit` if the input hardly moves, (k,)."""
    generator = torch.Generator().manual_seed(0)
    jumped = np.zeros(len(clips), dtype=bool)
    with torch.inference_mode():
        reference = expected(clips)  # (k, c)
        for _ in range(_NUDGES):
            nudge = torch.randn(clips.shape, generator=generator) * (_NUDGE * clips.std())
            jumped |= _largest((expected(clips + nudge) - reference).numpy()) > limit
    return jumped


def _largest(differences: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest absolute difference of each clip: (k, c) -> (k,)."""
    return np.abs(differences).max(axis=1)
