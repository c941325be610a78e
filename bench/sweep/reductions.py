"""The reductions of a grid: the values of a point's axes, put together as its method takes them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.sweep.axes import schedule_text
from bench.sweep.config import SweepConfig
from fastast.schedule import parse_schedule

if TYPE_CHECKING:
    from fastast.reduction import TokenReduction

_NO_REDUCTION = ("stride", "length", "engine", "attention", "dtype", "device", "batch_size")
"""Axes that a reduction does not depend on."""


class Reductions:
    """The reductions of a grid, None for the unmerged model; each is made once, however many points share it."""

    def __init__(self, config: SweepConfig) -> None:
        self._config = config
        axes = config.grid.axes.items()
        self._axes = [name for name, values in axes if name not in _NO_REDUCTION and len(values) > 1]
        self._made: dict[Hashable, TokenReduction | None] = {}

    def __call__(self, point: Mapping[str, Any]) -> TokenReduction | None:
        """Return the reduction of a point. Raises ValueError for an option's value that its method refuses."""
        key = self.key(point)
        if key not in self._made:
            self._made[key] = None if _is_unmerged(point) else _reduction(point, self._config)
        return self._made[key]

    def key(self, point: Mapping[str, Any]) -> Hashable:
        """Return what the reduction of a point depends on, with types, as True equals 1."""
        return tuple((type(point[name]), point[name]) for name in self._axes)


def _is_unmerged(point: Mapping[str, Any]) -> bool:
    """Return whether a point is the unmerged model: with r = 0, whatever the other axes of the reduction say."""
    return getattr(parse_schedule(schedule_text(point["schedule"], point["r"])), "r", None) == 0


def _reduction(point: Mapping[str, Any], config: SweepConfig) -> TokenReduction:
    """Return the reduction of a point, without axes that are not options of its method."""
    from fastast.reduction import TokenReduction, get_method
    from fastast.reduction.options import option_types, value_fits

    method = get_method(point["method"])
    kinds = option_types(method.options)
    own = [name for name in config.grid.options if name in kinds and value_fits(kinds[name], point[name])]
    reduction = TokenReduction(
        schedule=parse_schedule(schedule_text(point["schedule"], point["r"])),
        method=point["method"],
        options={name: point[name] for name in own},
        proportional=point["proportional"],
        combine=point["combine"],
        place=point["place"],
        threshold=None if point["threshold"] == -1 else point["threshold"],
        num_protected=None if point["num_protected"] == -1 else point["num_protected"],
        excess=point["excess"],
    )
    seed = config.seed if point["draw"] == -1 else point["draw"]
    return replace(reduction, seed=seed) if reduction.draws else reduction
