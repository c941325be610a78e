"""A recipe: everything that determines the weights that a training produces, as one value."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastast.data.datasets import asked
from fastast.hashing import differing_values, hash_plain
from fastast.scores import ACTIVATIONS, LOSSES, Loss
from fastast.training.recipe.checks import RecipeError, check_choice, check_number, check_whole
from fastast.training.recipe.parts.data import DataPart
from fastast.training.recipe.parts.model import ModelPart
from fastast.training.recipe.parts.normalisation import NormalisationPart
from fastast.training.recipe.parts.optimiser import OptimiserPart
from fastast.training.recipe.parts.reduction import ReductionPart
from fastast.training.recipe.parts.run import RunPart
from fastast.training.recipe.parts.schedule import SchedulePart

if TYPE_CHECKING:
    from fastast.data.augment import Augmentation
    from fastast.distill import Distillation

PRECISIONS = ("float32", "bfloat16", "float16", "float64")
METRICS = ("mAP", "accuracy")
ENGINES = ("plain", "triton")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Complete description of a training: the same recipe on the same machine makes the same weights."""

    data: DataPart
    """Data set and the order of its clips."""
    normalisation: NormalisationPart
    """Normalisation of the filterbank."""
    optimiser: OptimiserPart
    """Optimiser and its learning rate."""
    batch_size: int
    """Number of clips per optimiser step, over all processes and parts, so that it is the same on every machine."""
    model: ModelPart = field(default_factory=ModelPart)
    """Model to train."""
    reduction: ReductionPart | None = None
    """Merging in training; None: no merging."""
    schedule: SchedulePart = field(default_factory=SchedulePart)
    """Schedule of the learning rate."""
    augmentation: Augmentation | None = None
    """Augmentation of the clips; None: none."""
    distillation: Distillation | None = None
    """How to learn from a teacher; None: from the labels only."""
    run: RunPart = field(default_factory=RunPart)
    """How the run proceeds; not part of the recipe's identity."""
    epochs: int = 0
    """Length of the training in epochs; give this or `steps`."""
    steps: int = 0
    """Length of the training in steps; give this or `epochs`."""
    accumulation: int = 1
    """Number of parts that a step is computed in, one after another, if it does not fit into memory; it must divide
    `batch_size`."""
    precision: str = "float32"
    """Precision of the steps: `float32`; `bfloat16` or `float16` (autocast; float16 with loss scaling); `float64` for
    tests."""
    engine: str = "plain"
    """Implementation of the steps: `plain` PyTorch, or `triton`, GPU kernels in the forward and backward pass, which
    round differently. Evaluation always runs the plain model."""
    loss: Loss = "bce"
    """Loss against the labels: `bce` (binary cross-entropy) if a clip can have several labels, `ce` (cross-entropy) if
    it has exactly one."""
    metric: str = "mAP"
    """Validation metric that chooses the best weights: `mAP` or `accuracy`."""
    ema_decay: float = 0.0
    """Decay, such as 0.999, of an exponential moving average of the weights, which is evaluated and kept in their
    place. 0: no average."""
    average_epochs: tuple[int, ...] = ()
    """AST's weight averaging, as [a, b]: mean of the weights after each of the epochs a to b, counted from 1."""
    start_share: float = 0.0
    """Share of the initial weights in the mean that is evaluated and kept; the rest is the trained weights' share
    (weight-space ensembling, Wortsman et al. 2022, arXiv 2109.01903). 0: trained weights only."""
    seed: int = 0
    """Seed of all random draws."""

    def __post_init__(self) -> None:
        check_whole("batch_size", self.batch_size, low=1)
        check_whole("accumulation", self.accumulation, low=1)
        check_whole("epochs", self.epochs, low=0)
        check_whole("steps", self.steps, low=0)
        check_whole("seed", self.seed, low=0, high=2**31 - 1)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("engine", self.engine, ENGINES)
        check_choice("loss", self.loss, LOSSES)
        check_choice("metric", self.metric, METRICS)
        check_number("ema_decay", self.ema_decay, low=0, high=0.999999)
        check_number("start_share", self.start_share, low=0, high=0.99)
        if bool(self.epochs) == bool(self.steps):
            raise RecipeError(f"epochs is {self.epochs}, steps is {self.steps}; give one of the two")
        if self.batch_size % self.accumulation:
            raise RecipeError(f"accumulation is {self.accumulation}; it must divide batch_size, {self.batch_size}")
        self._check_average()
        if self.start_share and not self.model.begins_trained:
            raise RecipeError(
                f"start_share is {self.start_share:g}, but {self.model.name} begins with random weights, or a random "
                "last layer; start from a checkpoint with the same classes, or take start_share out"
            )
        if self.loss == "ce" and self.augmentation is not None and self.augmentation.mixup_labels == "union":
            raise RecipeError(
                "augmentation.mixup_labels is 'union', which gives a mixed clip two labels, but loss = 'ce' allows "
                "one: set it to 'weighted'"
            )
        if self.reduction is not None and self.run.evaluate_excess != RunPart.evaluate_excess:
            raise RecipeError(
                f"run.evaluate_excess is {self.run.evaluate_excess!r}, which is for recipes that train without "
                "merging; this one has [reduction], which is evaluated as it trains: set reduction.excess instead"
            )
        if self.distillation is not None:
            expected = ACTIVATIONS[self.loss]
            if self.distillation.activation != expected:
                raise RecipeError(
                    f"distillation.activation is {self.distillation.activation!r}; with loss = {self.loss!r} it must "
                    f"be {expected!r}"
                )

    def _check_average(self) -> None:
        if not self.average_epochs:
            return
        for epoch in self.average_epochs:
            check_whole("average_epochs", epoch, low=1)
        if len(self.average_epochs) != 2 or self.average_epochs[0] > self.average_epochs[1]:
            raise RecipeError(
                f"average_epochs is {list(self.average_epochs)}; it must be [first, last], counted from 1"
            )
        if not self.epochs or self.average_epochs[1] > self.epochs:
            raise RecipeError(
                f"average_epochs is {list(self.average_epochs)}, but epochs is {self.epochs}; the last epoch to "
                "average must be one that is trained"
            )
        if self.ema_decay:
            raise RecipeError("average_epochs and ema_decay are both given; a run keeps one kind of averaged weights")

    def question(self) -> dict[str, Any]:
        """Return everything that determines the weights, as plain values: all but `run` and the data's location."""
        values = dataclasses.asdict(self)
        del values["run"]
        for key in ("engine", "start_share"):
            if values[key] == getattr(Recipe, key):
                del values[key]  # as in older recipes, so that their runs can be resumed
        values["reduction"] = None if self.reduction is None else self.reduction.question()
        for part in ("model", "distillation"):
            if values[part] and not values[part]["labels"]:
                del values[part]["labels"]
        if self.augmentation is not None:
            values["augmentation"] = self.augmentation.question()
        values["data"]["options"] = asked(self.data.options)
        return json.loads(json.dumps(values, default=list))

    @property
    def identity(self) -> str:
        """SHA-256 of the question: recipes with the same identity make the same weights."""
        return hash_plain(self.question())


def first_difference(mine: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Return the first difference between two questions, by the order of their keys, as text; empty if none."""
    found = min(differing_values(mine, theirs, "absent"), key=lambda one: one[0], default=None)
    if found is None:
        return ""
    keys, here, there = found
    return f"{'.'.join(keys)} is {here!r} here, but {there!r} there"
