"""The question put to `fastast learn-merging`, as a value: states record it, and a run resumes only the same one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from fastast.schedule import parse_schedule
from fastast.training.precision import HALF

PRECISIONS = ("float32", *HALF)
"""Precisions that the model can run in."""


class LearnMergingError(ValueError):
    """Nothing can be learned from this question; the message says what to change."""


@dataclass(frozen=True, kw_only=True)
class MergingQuestion:
    """Everything that the training of a merge embedding depends on."""

    model: str
    """Name of a zoo model with weights, or path of a checkpoint."""
    weights_sha256: str = ""
    """SHA-256 of the checkpoint, which may have been replaced by the time a run resumes."""
    data: str
    """The recipe whose data is used: its training split to learn from, its validation split to check the result."""
    settings: tuple[str, ...] = ()
    """Settings of the recipe, `key=value`."""
    recipe_identity: str = ""
    """Hash of what is used from the recipe (`recipe_part`), which may have changed by the time a run resumes."""
    clips_sha256: str = ""
    """Hash of the training clips (`fastast.data.same_clips`), whose audio may have changed by then too."""
    labels: str = ""
    """Names of the model's classes where its file has none."""
    schedules: tuple[str, ...] = ("decreasing:48",)
    """Schedules of merging in training; if there are several, each step draws one."""
    steps: int = 400
    """Number of training steps."""
    batch_size: int = 8
    """Clips per step."""
    lr: float = 1e-3
    """Initial learning rate of Adam, which falls to 0 along a cosine."""
    temperature: float = 0.1
    """Temperature of the relaxed matching, in cosines: smaller is closer to inference, but 0.01 hardly teaches."""
    precision: str = "float32"
    """Precision of the model; the embedding itself is float32."""
    seed: int = 0
    """Seed for the order of clips and the draws of schedules."""
    clips: int = 200
    """Number of validation clips on which the result is compared with ToMe."""

    def __post_init__(self) -> None:
        for name, low in {"steps": 1, "batch_size": 1, "clips": 20, "seed": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise LearnMergingError(
                    f"learn-merging: {_option(name)} is {value!r}; give a whole number of at least {low}"
                )
        for name in ("lr", "temperature"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise LearnMergingError(f"learn-merging: {_option(name)} is {value!r}; it must be above 0")
        if self.precision not in PRECISIONS:
            allowed = ", ".join(PRECISIONS)
            raise LearnMergingError(f"learn-merging: --precision is {self.precision!r}; allowed: {allowed}")
        if not self.schedules:
            raise LearnMergingError("learn-merging: no --schedule was given; give one, such as decreasing:48")
        for text in self.schedules:
            parse_schedule(text)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"settings": list(self.settings), "schedules": list(self.schedules)}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
