"""A recipe: everything that decides which weights come out of a training, as one value."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastast.data.datasets import DATASETS, DataOptions, asked
from fastast.data.sampling import SAMPLERS
from fastast.hashing import hash_plain
from fastast.scores import ACTIVATIONS, LOSSES, Loss
from fastast.training.checks import RecipeError, check_choice, check_number, check_whole
from fastast.training.parts import (
    ModelPart,
    NormalisationPart,
    OptimiserPart,
    ReductionPart,
    RunPart,
    SchedulePart,
)

if TYPE_CHECKING:
    from fastast.data.augment import Augmentation
    from fastast.distill import Distillation

PRECISIONS = ("float32", "bfloat16", "float16", "float64")
METRICS = ("mAP", "accuracy")
ENGINES = ("plain", "triton")


@dataclass(frozen=True, kw_only=True)
class DataPart:
    """What is trained on."""

    name: str
    """Name of the data set."""
    options: DataOptions
    """Its own options."""
    sampler: str = "shuffle"
    """`shuffle`: every clip once an epoch; `balanced`: with replacement, rare classes more often (AST)."""

    def __post_init__(self) -> None:
        check_choice("data.name", self.name, DATASETS)
        check_choice("data.sampler", self.sampler, SAMPLERS)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training, whole: the same recipe on the same machine makes the same weights."""

    data: DataPart
    """Clips and their order."""
    normalisation: NormalisationPart
    """Of the filterbank."""
    optimiser: OptimiserPart
    """Optimiser and its rate."""
    batch_size: int
    """Clips of an optimiser step, over all processes and parts: the recipe does not change with the machine."""
    model: ModelPart = field(default_factory=ModelPart)
    """What is trained."""
    reduction: ReductionPart | None = None
    """Merging in training."""
    schedule: SchedulePart = field(default_factory=SchedulePart)
    """Learning rate over time."""
    augmentation: Augmentation | None = None
    """What is done to clips."""
    distillation: Distillation | None = None
    """A teacher."""
    run: RunPart = field(default_factory=RunPart)
    """How the run goes; not part of the recipe's identity."""
    epochs: int = 0
    """Length in epochs; or give steps."""
    steps: int = 0
    """Length in steps; or give epochs."""
    accumulation: int = 1
    """Parts that a step is computed in, one after another, where it does not fit into memory."""
    precision: str = "float32"
    """`float32`; `bfloat16` or `float16` (autocast; float16 with a scaled loss); `float64` for tests."""
    engine: str = "plain"
    """What the steps run on: `plain`, the model in plain torch, or `triton`, the GPU kernels there and back. It rounds
    differently; what is evaluated is the model either way."""
    loss: Loss = "bce"
    """`bce`: a clip can have several labels; `ce`: it has one."""
    metric: str = "mAP"
    """What chooses the best weights: `mAP` or `accuracy`."""
    ema_decay: float = 0.0
    """Of the exponential moving average of the weights (0.999); it is what is evaluated and kept. 0: none."""
    average_epochs: tuple[int, ...] = ()
    """AST's weight averaging: mean of the weights after each of the epochs a to b, counted from 1: [a, b]."""
    start_share: float = 0.0
    """Share of the weights that training begins with in those that are evaluated and kept, the rest being what it came
    to (weight-space ensembling, Wortsman et al. 2022, arXiv 2109.01903). 0: none."""
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
                "last layer; begin with a checkpoint of the same classes, or take start_share out"
            )
        if self.loss == "ce" and self.augmentation is not None and self.augmentation.mixup_labels == "union":
            raise RecipeError(
                "augmentation.mixup_labels is 'union', which gives a mixed clip two labels; with loss = 'ce' it has one"
                ": say 'weighted'"
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
            raise RecipeError(f"average_epochs is {list(self.average_epochs)}; it must be [first, last], from 1")
        if not self.epochs or self.average_epochs[1] > self.epochs:
            raise RecipeError(
                f"average_epochs is {list(self.average_epochs)}, but epochs is {self.epochs}; the last one averaged "
                "must be one that is trained"
            )
        if self.ema_decay:
            raise RecipeError("average_epochs and ema_decay are both given; a run keeps one kind of averaged weights")

    def question(self) -> dict[str, Any]:
        """Return everything that decides the weights, as plain values: all but `run` and where the data lies."""
        values = dataclasses.asdict(self)
        del values["run"]
        for key in ("engine", "start_share"):
            if values[key] == getattr(Recipe, key):
                del values[key]  # as in the recipes of before there was a choice: their runs can go on
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
        """SHA-256 of the question: two recipes with one identity make the same weights."""
        return hash_plain(self.question())


def first_difference(mine: dict[str, Any], theirs: dict[str, Any], path: str = "") -> str:
    """Say where two questions differ first; empty where they do not."""
    for key in sorted({*mine, *theirs}):
        here, there = mine.get(key, "not there"), theirs.get(key, "not there")
        if isinstance(here, dict) and isinstance(there, dict):
            if deeper := first_difference(here, there, f"{path}{key}."):
                return deeper
        elif here != there:
            return f"{path}{key} is {here!r}, there it is {there!r}"
    return ""
