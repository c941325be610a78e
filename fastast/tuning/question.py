"""The question put to `fastast tune`, as a value: answer and journal record it, and a run resumes only the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastast.hashing import hash_plain
from fastast.reduction import TokenReduction
from fastast.tuning.target import Target, TuningError

if TYPE_CHECKING:
    from fastast.training.recipe.recipe import Recipe

_LATER = {"weights_sha256": None, "recipe_identity": None, "labels": "", "activation": ""}
"""Keys that older files lack, with the value that their absence means; None: the value is unknown."""


@dataclass(frozen=True, kw_only=True)
class TuningQuestion:
    """Everything that a tuning depends on."""

    model: str
    """Name of a zoo model with weights, or path of a checkpoint."""
    weights_sha256: str = ""
    """SHA-256 of the checkpoint, which may have been replaced by the time a run resumes."""
    data: str
    """The recipe whose data is used."""
    settings: tuple[str, ...] = ()
    """Settings of the recipe, `key=value`."""
    recipe_identity: str = ""
    """Hash of what is used from the recipe (`recipe_part`), which may have changed by the time a run resumes."""
    labels: str = ""
    """Names of the model's classes, where its file has none or others."""
    activation: str = ""
    """What turns the model's logits into scores, where its loss does not say."""
    target: Target
    """The speed or loss that is asked for."""
    method: TokenReduction
    """How tokens are removed; its schedule is ignored."""
    split: str = "val"
    """Split of the data with the calibration clips."""
    held_out: str = ""
    """Split whose clips the answer is checked on; empty: the half of `split` that is not used for calibration."""
    clips: int = 1000
    """Maximum number of clips from a split, spread evenly."""
    min_positives: int = 5
    """Minimum number of positive clips per class, for calibration as well as held out."""
    batch_size: int = 8
    """Batch size at which time is measured."""
    rounds: int = 15
    """Rounds in which finalists are timed."""
    evaluations: int = 40
    """Maximum number of schedules to measure on the clips per time limit."""

    def __post_init__(self) -> None:
        least = {"clips": 40, "min_positives": 0, "batch_size": 1, "rounds": 5, "evaluations": 5}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                option = f"--{name.replace('_', '-')}"
                raise TuningError(f"tune: {option} is {value!r}; it must be a whole number of at least {low}")
        if self.method.place != "between":
            raise TuningError(
                f"tune: place is {self.method.place!r}; the cost of blocks is measured only for merging between "
                "attention and MLP, so leave it out"
            )
        if self.method.threshold is not None:
            raise TuningError(
                f"tune: threshold is {self.method.threshold:g}; a tuned schedule fixes the numbers of tokens, and with "
                "a threshold each clip decides on its own, so leave it out"
            )
        if self.held_out == self.split:
            raise TuningError(
                f"tune: --held-out is {self.held_out!r}, whose clips are used for calibration; name another split, or "
                "leave it out to hold half of them out"
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
    """Return a hash of what a tuning uses from a recipe: data, normalisation, metric and model options."""
    asked = recipe.question()
    used = {name: asked[name] for name in ("data", "normalisation", "metric")} | {"options": asked["model"]["options"]}
    return hash_plain(used)


def differing_key(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """Return the first key in which two questions, as plain values, differ; an empty string if none does."""
    absent = {key: mine.get(key) if value is None else value for key, value in _LATER.items()}
    asked, known = absent | dict(mine), absent | dict(theirs)
    return next((key for key in sorted({*asked, *known}) if asked.get(key) != known.get(key)), "")


def _absolute(name: str) -> str:
    """Return a file's absolute path, as a run may be resumed from another folder."""
    return str(Path(name).resolve()) if Path(name).exists() else name
