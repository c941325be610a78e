"""How a run of a recipe proceeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from fastast.reduction.spec import Excess
from fastast.schedule import parse_schedule
from fastast.training.recipe.checks import RecipeError, check_choice, check_flag, check_texts, check_whole

EXCESS = get_args(Excess)


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
