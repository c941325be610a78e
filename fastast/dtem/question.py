"""What `fastast learn-merging` was asked, as a value: its state says it, and a run goes on with no other."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from fastast.schedule import parse_schedule
from fastast.training.precision import HALF

PRECISIONS = ("float32", *HALF)


class LearnMergingError(ValueError):
    """A question that cannot be learned from; the message says what could."""


@dataclass(frozen=True, kw_only=True)
class MergingQuestion:
    """A training of a merge embedding, whole."""

    model: str
    """A name of the zoo with weights, or a checkpoint."""
    weights_sha256: str = ""
    """Of the checkpoint, as another may lie under its name when a run goes on."""
    data: str
    """A recipe, whose data is used: its training split to learn from, its validation split to look at the answer."""
    settings: tuple[str, ...] = ()
    """Settings of the recipe, `key=value`."""
    recipe_identity: str = ""
    """Of what is used of the recipe, as another may lie under its name when a run goes on: `recipe_part`."""
    clips_sha256: str = ""
    """Of what the training clips are, as others may lie under their names (`fastast.data.same_clips`)."""
    labels: str = ""
    """Names of the model's classes where its file has none."""
    schedules: tuple[str, ...] = ("decreasing:48",)
    """Merging while learning; of several, each step draws one."""
    steps: int = 400
    """Steps."""
    batch_size: int = 8
    """Clips per step."""
    lr: float = 1e-3
    """Learning rate of Adam at the beginning; it falls to 0 along a cosine."""
    temperature: float = 0.1
    """Of the relaxed matching, in cosines: smaller is nearer to what inference does, and hardly teaches (0.01)."""
    precision: str = "float32"
    """Of the model; the embedding's is float32."""
    seed: int = 0
    """Of the order of clips, and of what is drawn."""
    clips: int = 200
    """Validation clips that the answer is compared with ToMe on."""

    def __post_init__(self) -> None:
        for name, low in {"steps": 1, "batch_size": 1, "clips": 20, "seed": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise LearnMergingError(f"learn-merging: {_option(name)} is {value!r}; give a whole number from {low}")
        for name in ("lr", "temperature"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise LearnMergingError(f"learn-merging: {_option(name)} is {value!r}; it must be above 0")
        if self.precision not in PRECISIONS:
            allowed = ", ".join(PRECISIONS)
            raise LearnMergingError(f"learn-merging: --precision is {self.precision!r}; allowed: {allowed}")
        if not self.schedules:
            raise LearnMergingError("learn-merging: no --schedule is given; give one, such as decreasing:48")
        for text in self.schedules:
            parse_schedule(text)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON has them."""
        return asdict(self) | {"settings": list(self.settings), "schedules": list(self.schedules)}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
