"""What `fastast tune` was asked, as a value: its file and its journal say it, and a run goes on with no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastast.hashing import hash_plain
from fastast.reduction import TokenReduction
from fastast.tuning.target import Target, TuningError

if TYPE_CHECKING:
    from fastast.training.recipe import Recipe

_LATER = {"weights_sha256": None, "recipe_identity": None, "labels": "", "activation": ""}
"""Keys that files of before lack, and what that means: None, that nothing is known."""


@dataclass(frozen=True, kw_only=True)
class TuningQuestion:
    """A tuning, whole."""

    model: str
    """A name of the zoo with weights, or a checkpoint."""
    weights_sha256: str = ""
    """Of the checkpoint, as another may lie under its name when a run goes on."""
    data: str
    """A recipe, whose data is used."""
    settings: tuple[str, ...] = ()
    """Settings of the recipe, `key=value`."""
    recipe_identity: str = ""
    """Of what is used of the recipe, as another may lie under its name when a run goes on: `recipe_part`."""
    labels: str = ""
    """Names of the model's classes where its file has none, or others."""
    activation: str = ""
    """What turns its logits into scores where its loss does not say."""
    target: Target
    """What is asked for."""
    method: TokenReduction
    """How tokens go; its schedule does not matter."""
    split: str = "val"
    """Of the data, whose clips calibrate."""
    held_out: str = ""
    """Split of the clips that answers are checked on; empty: the half of `split` that does not calibrate."""
    clips: int = 1000
    """Most clips of a split, spread evenly."""
    min_positives: int = 5
    """Positive clips that every class must have on either side."""
    batch_size: int = 8
    """Batch size at which time is measured."""
    rounds: int = 15
    """Rounds that finalists are timed in."""
    evaluations: int = 40
    """Schedules that are measured on the clips, at most at one time."""

    def __post_init__(self) -> None:
        least = {"clips": 40, "min_positives": 0, "batch_size": 1, "rounds": 5, "evaluations": 5}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                option = f"--{name.replace('_', '-')}"
                raise TuningError(f"tune: {option} is {value!r}; it must be a whole number of at least {low}")
        if self.method.place != "between":
            raise TuningError(
                f"tune: place is {self.method.place!r}; what blocks cost is measured for merging between attention and "
                "MLP alone, so leave it out"
            )
        if self.method.threshold is not None:
            raise TuningError(
                f"tune: threshold is {self.method.threshold:g}; schedules are tuned for numbers of tokens, which clips "
                "decide on with a threshold, so leave it out"
            )
        if self.held_out == self.split:
            raise TuningError(
                f"tune: --held-out is {self.held_out!r}, whose clips calibrate; name another split, or leave it out to "
                "keep half of them apart"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["target"] = {
            field.name: getattr(self.target, field.name)
            for field in fields(self.target)
            if getattr(self.target, field.name) is not None
        }
        values["method"] = {k: v for k, v in self.method.to_dict().items() if k != "schedule"}
        return values | {"settings": list(self.settings), "model": _absolute(self.model), "data": _absolute(self.data)}


def recipe_part(recipe: Recipe) -> str:
    """Return the hash of what a tuning uses of a recipe: its data and how that is heard and scored."""
    asked = recipe.question()
    used = {name: asked[name] for name in ("data", "normalisation", "metric")} | {"options": asked["model"]["options"]}
    return hash_plain(used)


def differing_key(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """Return the first key in which two questions differ, as plain values; empty where none does."""
    absent = {key: mine.get(key) if value is None else value for key, value in _LATER.items()}
    asked, known = absent | dict(mine), absent | dict(theirs)
    return next((key for key in sorted({*asked, *known}) if asked.get(key) != known.get(key)), "")


def _absolute(name: str) -> str:
    """Return a file's whole path, as a run may go on from another folder."""
    return str(Path(name).resolve()) if Path(name).exists() else name
