"""The parts of a recipe: model, merging, optimiser, schedule of the learning rate, and how a run behaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from torch.optim import Optimizer

from fastast.frontend import Normalisation
from fastast.names import unknown_name
from fastast.reduction import TokenReduction, method_names
from fastast.reduction.spec import Excess, reduction_keys, with_file
from fastast.registry import Registry
from fastast.schedule import Constant, parse_schedule
from fastast.schedule_file import is_schedule_file
from fastast.training.checks import (
    RecipeError,
    check_choice,
    check_flag,
    check_number,
    check_options,
    check_text,
    check_texts,
    check_whole,
)
from fastast.zoo import TRAINED as WITH_WEIGHTS

OPTIMISERS: Registry[type[Optimizer]] = Registry(
    "optimiser", {"adam": "torch.optim:Adam", "adamw": "torch.optim:AdamW"}
)
SCHEDULES = ("constant", "multistep", "cosine")
EXCESS = get_args(Excess)
TRAINED = ("all", "head")


@dataclass(frozen=True, kw_only=True)
class ModelPart:
    """What is trained."""

    name: str = "ast_tiny"
    """A name of the zoo (`fastast info`), or of a CNN or teacher (`cnn_small_soundscapes`, `efficientnet_b2`)."""
    checkpoint: str = ""
    """Weights to begin with: any checkpoint that `fastast.load_model` reads; of a CNN, a file that FastAST trained.
    Empty: the zoo's own, or random."""
    labels: str = ""
    """Names of the checkpoint's classes where its file has none, or others: a file with a name per line in the order of
    the outputs, or `data` where that is the order of the data's classes."""
    new_head: bool = False
    """Begin with a new last layer, where the checkpoint has other classes."""
    imagenet: str = ""
    """Begin, as AST does, with a vision transformer trained on ImageNet: `download` for timm's distilled DeiT of the
    model's size, or the path of its weights."""
    trained: str = "all"
    """What learns: `all`, or the `head` alone on features that stay as they are."""
    drop_path_rate: float = 0.0
    """Stochastic depth of the last block; linear from 0."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Geometry` such as `num_frames`; for a teacher, its options in `create_teacher`."""

    def __post_init__(self) -> None:
        for name in ("name", "checkpoint", "labels", "imagenet"):
            check_text(f"model.{name}", getattr(self, name))
        check_flag("model.new_head", self.new_head)
        check_choice("model.trained", self.trained, TRAINED)
        check_number("model.drop_path_rate", self.drop_path_rate, low=0, high=0.99)
        check_options("model.options", self.options, "{ num_frames = 512 }")
        if "num_frames" in self.options:  # a CNN has no geometry that would check it
            check_whole("model.options.num_frames", self.options["num_frames"], low=1)
        for option, said in _SAID_ELSEWHERE.items():
            if option in self.options:
                raise RecipeError(f"model.options.{option}: {said}; take it out")
        if self.trained == "head" and self.drop_path_rate:
            raise RecipeError(
                f"model.drop_path_rate is {self.drop_path_rate:g}, and model.trained is 'head': blocks that do not "
                "learn drop nothing; take one of them out"
            )
        if self.checkpoint and self.imagenet:
            raise RecipeError("model: checkpoint and imagenet are both given; weights begin in one place")
        if self.imagenet and self.name in WITH_WEIGHTS:
            raise RecipeError(
                f"model.imagenet: {self.name} begins with its own weights; name an architecture, or take it out"
            )
        if self.labels and not self.begins_trained:
            raise RecipeError("model.labels names a checkpoint's outputs, and this model begins without; take it out")

    @property
    def begins_trained(self) -> bool:
        """Whether all of its weights, the last layer's too, were trained before."""
        return bool(self.checkpoint or self.name in WITH_WEIGHTS) and not self.new_head


_SAID_ELSEWHERE = {
    "num_classes": "the classes are those of the data",
    "normalisation": "the part [normalisation] says it",
} | {key: f"model.{key} says it" for key in ("name", "checkpoint", "labels", "new_head", "imagenet", "trained")}
"""What builders of models take too: as an option, weights would begin with their classes not matched by name."""


@dataclass(frozen=True, kw_only=True)
class ReductionPart:
    """Merging in training: one schedule, or several of which each step draws one."""

    r: tuple[int, ...] = ()
    """Tokens merged in every block; of several, each step draws one, so that one set of weights serves them all."""
    schedule: tuple[str, ...] = ()
    """Any schedule, as text (`decreasing:40`); in place of `r`."""
    shared: Mapping[str, Any] = field(default_factory=dict)
    """What the schedules have in common: any other field of `TokenReduction`, and the options of its method."""

    def __post_init__(self) -> None:
        for r in self.r:
            check_whole("reduction.r", r, low=0)
        check_texts("reduction.schedule", self.schedule, "decreasing:40")
        if bool(self.r) == bool(self.schedule):
            raise RecipeError("reduction: give r (a number, or several) or schedule (text, or several), one of the two")
        check_text("reduction.method", self.shared.get("method", "tome"))
        check_flag("reduction.proportional", self.shared.get("proportional", True))
        if self.shared.get("num_protected") is not None:
            check_whole("reduction.num_protected", self.shared["num_protected"], low=0)
        self.reductions()

    @classmethod
    def from_table(cls, values: Mapping[str, Any]) -> ReductionPart:
        """Make the part of what a recipe's table says; a schedule that is a file brings what it was tuned for.

        Raises RecipeError for a key that the method does not have, and for a file beside other schedules.
        """
        schedule = values.get("schedule")
        if isinstance(schedule, list) and any(map(is_schedule_file, schedule)):
            raise RecipeError(f"reduction.schedule: {schedule!r}: a file stands alone; give its list beside others")
        try:
            values = with_file(values)
        except ValueError as error:
            raise RecipeError(f"reduction.{error}") from error
        own = {
            key: tuple(values[key]) if isinstance(values[key], list) else (values[key],)
            for key in ("r", "schedule")
            if key in values
        }
        shared = {key: value for key, value in values.items() if key not in own}
        method = shared.get("method", "tome")
        if isinstance(method, str) and method in method_names():
            known = tuple(key for key in reduction_keys(method) if key != "schedule")
            for key in shared:
                if key not in known:
                    raise RecipeError(f"reduction.{key}: {unknown_name('key', key, ('r', 'schedule', *known))}")
        return cls(**own, shared=shared)

    def texts(self) -> tuple[str, ...]:
        """Return the schedules as text."""
        return tuple(str(Constant(r)) for r in self.r) or self.schedule

    def reductions(self) -> tuple[TokenReduction, ...]:
        """Return what a step can have; checks schedules and names."""
        try:
            return tuple(self.reduction(text) for text in self.texts())
        except ValueError as error:
            raise RecipeError(f"reduction: {error}") from error

    def reduction(self, schedule: str) -> TokenReduction:
        """Return the reduction with another schedule, as when measuring."""
        return TokenReduction.from_dict({**self.shared, "schedule": schedule})

    def question(self) -> dict[str, Any]:
        """Return the part as plain values, as in the recipes of before a method had options: their runs can go on."""
        first = self.reductions()[0]
        values = first.to_dict() | {"excess": first.excess, "schedule": self.schedule, "r": self.r}
        if values.get("order") == "tome":
            del values["order"]
        return values


@dataclass(frozen=True, kw_only=True)
class NormalisationPart:
    """Mean and deviation of the training set's filterbank."""

    mean: float
    """Mean of the log-mel filterbank, as `fastast data stats` prints it."""
    std: float
    """Its standard deviation; AST divides by twice this."""

    def __post_init__(self) -> None:
        check_number("normalisation.mean", self.mean, low=-1e3, high=1e3)
        check_number("normalisation.std", self.std, low=0, more=True)

    @property
    def applied(self) -> Normalisation:
        """What a front end does with them."""
        return Normalisation(mean=self.mean, std=self.std)


@dataclass(frozen=True, kw_only=True)
class OptimiserPart:
    """Adam as AST has it, or AdamW."""

    lr: float
    """Learning rate, before schedule and warm-up."""
    name: str = "adam"
    """`adam` (decay is part of the gradient) or `adamw` (decay apart)."""
    weight_decay: float = 0.0
    """Weight decay."""
    betas: tuple[float, ...] = (0.9, 0.999)
    """Of the running means of gradient and square."""
    decay_all: bool = True
    """Decay every parameter, as AST does; if false, not biases, norms, tokens and positions."""
    clip_norm: float = 0.0
    """Largest norm of the gradient; 0: as it comes."""

    def __post_init__(self) -> None:
        check_choice("optimiser.name", self.name, OPTIMISERS)
        check_number("optimiser.lr", self.lr, low=0, more=True)
        check_number("optimiser.weight_decay", self.weight_decay, low=0)
        check_number("optimiser.clip_norm", self.clip_norm, low=0)
        check_flag("optimiser.decay_all", self.decay_all)
        if len(self.betas) != 2:
            raise RecipeError(f"optimiser.betas is {self.betas!r}; it must be two numbers")
        for beta in self.betas:
            check_number("optimiser.betas", beta, low=0, high=0.999999)


@dataclass(frozen=True, kw_only=True)
class SchedulePart:
    """How the learning rate changes. Epochs count from 0."""

    name: str = "constant"
    """`constant`, `multistep` (times `factor` at epoch `start` and each `every` after it) or `cosine`."""
    start: int = 1
    """Multistep: epochs at the full rate."""
    every: int = 1
    """Multistep: epochs between two changes."""
    factor: float = 0.5
    """Multistep: what a change multiplies by."""
    floor: float = 0.0
    """Cosine: share of the rate that is left at the end."""
    warmup_steps: int = 0
    """Steps of a rise from 0 to the full rate; the other schedule runs meanwhile."""
    warmup_stair: int = 1
    """Steps between two rises (AST: 50 of 1,000)."""

    def __post_init__(self) -> None:
        check_choice("schedule.name", self.name, SCHEDULES)
        check_whole("schedule.start", self.start, low=0)
        check_whole("schedule.every", self.every, low=1)
        check_number("schedule.factor", self.factor, low=0, high=1, more=True)
        check_number("schedule.floor", self.floor, low=0, high=1)
        check_whole("schedule.warmup_steps", self.warmup_steps, low=0)
        check_whole("schedule.warmup_stair", self.warmup_stair, low=1)
        for key, name in _OF_SCHEDULE.items():
            if self.name != name and (value := getattr(self, key)) != getattr(SchedulePart, key):
                raise RecipeError(
                    f"schedule.{key} is {value!r}, which is for {name!r} alone, and schedule.name is {self.name!r}; "
                    f"take it out (-s schedule.{key}=), or say schedule.name = {name!r}"
                )
        if self.warmup_stair > max(1, self.warmup_steps):
            raise RecipeError(
                f"schedule.warmup_stair is {self.warmup_stair}, and schedule.warmup_steps is {self.warmup_steps}: a "
                "stair is a part of the warm-up; make it shorter, or the warm-up longer"
            )


_OF_SCHEDULE = {"start": "multistep", "every": "multistep", "factor": "multistep", "floor": "cosine"}
"""Keys that one schedule alone looks at."""


@dataclass(frozen=True, kw_only=True)
class RunPart:
    """What affects how a run proceeds but not the resulting weights; may differ when a run is resumed."""

    workers: int = 0
    """Processes that read clips ahead; 0: the training process reads."""
    log_every: int = 50
    """Steps between two lines of the log."""
    checkpoint_every: int = 500
    """Steps between two checkpoints; there is one at each epoch's end too."""
    evaluate_every: int = 0
    """Steps between two evaluations on the validation set; 0: at each epoch's end."""
    evaluate: tuple[str, ...] = ()
    """Schedules to evaluate under, such as `constant:0`; the first one chooses the best weights (where a run
    goes on with another first one, the best from there on). Empty: as trained."""
    evaluate_excess: str = "refuse"
    """As `reduction.excess`, for the schedules of `evaluate` in a recipe that trains without merging."""
    eval_batch: int = 32
    """Clips of a batch in evaluation, on each process."""
    keep_scores: bool = False
    """Write the labels and the scores of every test clip, from which intervals can be had later."""

    def __post_init__(self) -> None:
        check_whole("run.workers", self.workers, low=0)
        check_whole("run.log_every", self.log_every, low=1)
        check_whole("run.checkpoint_every", self.checkpoint_every, low=1)
        check_whole("run.evaluate_every", self.evaluate_every, low=0)
        check_whole("run.eval_batch", self.eval_batch, low=1)
        check_choice("run.evaluate_excess", self.evaluate_excess, EXCESS)
        check_flag("run.keep_scores", self.keep_scores)
        check_texts("run.evaluate", self.evaluate, "constant:40")
        for text in self.evaluate:
            try:
                parse_schedule(text)
            except ValueError as error:
                raise RecipeError(f"run.evaluate: {error}") from error
