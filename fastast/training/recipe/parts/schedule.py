"""The learning rate schedule of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from fastast.training.recipe.checks import RecipeError, check_choice, check_number, check_whole

SCHEDULES = ("constant", "multistep", "cosine")


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
