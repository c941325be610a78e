"""The parts of a recipe: model, merging, normalisation, optimiser, learning rate schedule, and how a run proceeds."""

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
from fastast.schedule.file import is_schedule_file
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
    """The model to train, and the weights it starts from."""

    name: str = "ast_tiny"
    """Name of an AST (`fastast info` lists them), of any CNN of timm (`efficientnet_b2`), or of another teacher
    (`cnn_small_soundscapes`)."""
    checkpoint: str = ""
    """Weights to start from: any checkpoint that `fastast.load_model` reads; for a CNN, a file that FastAST trained.
    Empty: the weights that come with the model, or random ones."""
    labels: str = ""
    """Names of the checkpoint's classes if its file has none or other names: a file with one name per line, in the
    order of the outputs, or `data` if the outputs are unnamed and in the order of the data's classes."""
    new_head: bool = False
    """Start with a new, random last layer, for a checkpoint with other classes."""
    imagenet: str = ""
    """Start, as AST does, from a vision transformer trained on ImageNet: `download` fetches timm's distilled DeiT of
    the model's size, and a path names its weights on disk."""
    trained: str = "all"
    """Which weights are trained: `all`, or only those of the `head`, on frozen features."""
    drop_path_rate: float = 0.0
    """Stochastic depth: drop rate of the last block of a transformer; rates rise linearly from 0 at the first."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Geometry`, such as `num_frames`; for a teacher or CNN, its options in `create_teacher`."""

    def __post_init__(self) -> None:
        for name in ("name", "checkpoint", "labels", "imagenet"):
            check_text(f"model.{name}", getattr(self, name))
        check_flag("model.new_head", self.new_head)
        check_choice("model.trained", self.trained, TRAINED)
        check_number("model.drop_path_rate", self.drop_path_rate, low=0, high=0.99)
        check_options("model.options", self.options, "{ num_frames = 512 }")
        if "num_frames" in self.options:  # a CNN has no geometry to check it
            check_whole("model.options.num_frames", self.options["num_frames"], low=1)
        for option, said in _SAID_ELSEWHERE.items():
            if option in self.options:
                raise RecipeError(f"model.options.{option}: {said}; take it out")
        if self.trained == "head" and self.drop_path_rate:
            raise RecipeError(
                f"model.drop_path_rate is {self.drop_path_rate:g}, and model.trained is 'head': frozen blocks drop "
                "nothing; take one of the two out"
            )
        if self.checkpoint and self.imagenet:
            raise RecipeError(
                "model: checkpoint and imagenet are both given; a model starts from one of the two: take the other out"
            )
        if self.imagenet and self.name in WITH_WEIGHTS:
            raise RecipeError(
                f"model.imagenet: {self.name} has weights of its own; name an architecture, or take model.imagenet out"
            )
        if self.labels and not self.begins_trained:
            raise RecipeError(
                "model.labels names outputs of trained weights, but this model's last layer is new; take it out"
            )

    @property
    def begins_trained(self) -> bool:
        """Whether all weights that it starts with, including the last layer's, are trained ones."""
        return bool(self.checkpoint or self.name in WITH_WEIGHTS) and not self.new_head


_SAID_ELSEWHERE = {
    "num_classes": "the classes are those of the data",
    "normalisation": "the part [normalisation] sets it",
} | {key: f"model.{key} sets it" for key in ("name", "checkpoint", "labels", "new_head", "imagenet", "trained")}
"""Options that model builders take but other keys set; as options, they would bypass matching classes by name."""


@dataclass(frozen=True, kw_only=True)
class ReductionPart:
    """Merging in training: one schedule, or several from which each step draws one."""

    r: tuple[int, ...] = ()
    """Number of tokens merged in every block, or a list of which each step draws one, so that one set of weights serves
    them all."""
    schedule: tuple[str, ...] = ()
    """Any schedule instead of `r`, as text (`decreasing:40`), or a list of which each step draws one."""
    shared: Mapping[str, Any] = field(default_factory=dict)
    """What all schedules share: any other field of `TokenReduction`, and the options of its method."""

    def __post_init__(self) -> None:
        for r in self.r:
            check_whole("reduction.r", r, low=0)
        check_texts("reduction.schedule", self.schedule, "decreasing:40")
        if bool(self.r) == bool(self.schedule):
            raise RecipeError("reduction: give one of the two: r (a number, or several) or schedule (text, or several)")
        check_text("reduction.method", self.shared.get("method", "tome"))
        check_flag("reduction.proportional", self.shared.get("proportional", True))
        if self.shared.get("num_protected") is not None:
            check_whole("reduction.num_protected", self.shared["num_protected"], low=0)
        self.reductions()

    @classmethod
    def from_table(cls, values: Mapping[str, Any]) -> ReductionPart:
        """Make the part from a recipe's table; a schedule file brings the method and options that it was tuned for.

        Raises RecipeError for a key that the method does not have, and for a file among several schedules.
        """
        schedule = values.get("schedule")
        if isinstance(schedule, list) and any(map(is_schedule_file, schedule)):
            raise RecipeError(f"reduction.schedule: {schedule!r}: a schedule file must be the only one; give its list")
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
        """Return the reductions that a step can draw. Raises RecipeError for a wrong schedule, name or value."""
        try:
            return tuple(self.reduction(text) for text in self.texts())
        except ValueError as error:
            raise RecipeError(f"reduction: {error}") from error

    def reduction(self, schedule: str) -> TokenReduction:
        """Return the reduction with a given schedule, such as one to evaluate."""
        return TokenReduction.from_dict({**self.shared, "schedule": schedule})

    def question(self) -> dict[str, Any]:
        """Return the part as plain values, in the form of older recipes, so that their runs can be resumed."""
        first = self.reductions()[0]
        values = first.to_dict() | {"excess": first.excess, "schedule": self.schedule, "r": self.r}
        if values.get("order") == "tome":
            del values["order"]
        return values


@dataclass(frozen=True, kw_only=True)
class NormalisationPart:
    """Mean and standard deviation of the training set's filterbank."""

    mean: float
    """Mean of the log-mel filterbank, as `fastast data stats` computes it."""
    std: float
    """Standard deviation of that filterbank. As in AST, inputs are divided by twice this value."""

    def __post_init__(self) -> None:
        check_number("normalisation.mean", self.mean, low=-1e3, high=1e3)
        check_number("normalisation.std", self.std, low=0, more=True)

    @property
    def applied(self) -> Normalisation:
        """Normalisation that a front end applies with these values."""
        return Normalisation(mean=self.mean, std=self.std)


@dataclass(frozen=True, kw_only=True)
class OptimiserPart:
    """Adam, as in AST, or AdamW."""

    lr: float
    """Learning rate at its full value, by which schedule and warm-up are multiplied."""
    name: str = "adam"
    """`adam` (weight decay is added to the gradient) or `adamw` (decoupled weight decay)."""
    weight_decay: float = 0.0
    """Strength of the weight decay."""
    betas: tuple[float, ...] = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    decay_all: bool = True
    """Decay every parameter, as AST does; if false, all but biases, norms, the class and distillation tokens, and
    position embeddings."""
    clip_norm: float = 0.0
    """Norm of all gradients together to which larger ones are scaled down. 0: no clipping."""

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
    """How the learning rate changes over time. Epochs count from 0."""

    name: str = "constant"
    """`constant`, `multistep` (multiplied by `factor` at epoch `start` and every `every` epochs after it) or `cosine`
    (half a cosine from the full rate down to `floor`)."""
    start: int = 1
    """For `multistep`: number of epochs at the full rate."""
    every: int = 1
    """For `multistep`: number of epochs between changes."""
    factor: float = 0.5
    """For `multistep`: factor by which each change multiplies the rate."""
    floor: float = 0.0
    """For `cosine`: share of the full rate that is left at the end."""
    warmup_steps: int = 0
    """Number of steps in which the rate rises linearly from 0 to that of the schedule, which runs meanwhile."""
    warmup_stair: int = 1
    """Number of steps between rises of the warm-up (AST: 50 in a warm-up of 1,000 steps)."""

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
                    f"schedule.{key} is {value!r}, which is only for {name!r}, but schedule.name is {self.name!r}; "
                    f"take it out (-s schedule.{key}=), or set schedule.name = {name!r}"
                )
        if self.warmup_stair > max(1, self.warmup_steps):
            raise RecipeError(
                f"schedule.warmup_stair is {self.warmup_stair}, and schedule.warmup_steps is {self.warmup_steps}: a "
                "stair cannot be longer than the warm-up; make it shorter, or the warm-up longer"
            )


_OF_SCHEDULE = {"start": "multistep", "every": "multistep", "factor": "multistep", "floor": "cosine"}
"""Keys that apply to only one schedule, with its name."""


@dataclass(frozen=True, kw_only=True)
class RunPart:
    """How a run proceeds, without effect on the weights at its end; it may change when a run is resumed."""

    workers: int = 0
    """Number of processes that read clips ahead; 0: the training process reads them itself."""
    log_every: int = 50
    """Number of steps between two lines of the log."""
    checkpoint_every: int = 500
    """Number of steps between two checkpoints; one is also written at the end of each epoch."""
    evaluate_every: int = 0
    """Number of steps between two evaluations on the validation set; 0: at the end of each epoch."""
    evaluate: tuple[str, ...] = ()
    """Schedules to evaluate under, such as `constant:0`. The best weights are chosen under the first one; if it changes
    when a run is resumed, they are chosen anew from then on. Empty: those of `[reduction]`, or unmerged without it."""
    evaluate_excess: str = "refuse"
    """`reduction.excess` for the schedules in `evaluate`, if the recipe trains without merging."""
    eval_batch: int = 32
    """Number of clips per batch in evaluation, in each process."""
    keep_scores: bool = False
    """Write the labels and logits of all test clips to `scores.safetensors`, for confidence intervals, for example."""

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
