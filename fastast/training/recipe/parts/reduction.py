"""Merging in a recipe: one schedule, or several from which each step draws one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastast.names import unknown_name
from fastast.reduction import TokenReduction, method_names
from fastast.reduction.spec import reduction_keys, with_file
from fastast.schedule import Constant
from fastast.schedule.file import is_schedule_file
from fastast.training.recipe.checks import RecipeError, check_flag, check_text, check_texts, check_whole


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
