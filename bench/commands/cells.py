"""The cells of the sweep that a command names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.sweep.cells import Cell
    from bench.sweep.config import SweepConfig


def cells_of(
    sweep: str, overrides: list[str] | None, resolve: Callable[[str], str] | None = None, *, here: bool = False
) -> tuple[SweepConfig, tuple[Cell, ...]]:
    """Return the sweep of that file or name, its values replaced by `overrides`, and its cells.

    `resolve` names the device of a cell, as for `expand`; `here`: the cells are to run on this machine. Raises
    ConfigError where the sweep is wrong or, with `here`, asks for what this machine cannot do.
    """
    from bench.sweep.file import find_sweep, load_sweep

    path = find_sweep(sweep)
    config = load_sweep(path, overrides or ())
    from bench.sweep.expansion import expand

    cells = expand(config, str(path), **({} if resolve is None else {"resolve": resolve}))
    if here:
        from bench.sweep.machine_limits import check_machine

        check_machine(config, cells, str(path))
    return config, cells
