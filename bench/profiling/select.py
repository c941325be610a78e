"""Selecting the cells of a sweep to profile, by id or by reduction."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from bench.sweep.cells import Cell
from bench.sweep.complaints import ConfigError


def select_cells(
    cells: Sequence[Cell], cell_id: str | None = None, *, r: int | None = None, schedule: str | None = None
) -> tuple[Cell, ...]:
    """Return the performance cells that match.

    `cell_id` is an id or its beginning. `schedule` is a family of the grid (`constant`, `linear:-0.5`) or a schedule
    in full (`constant:40`); r = 0 is the unmerged cell. Raises ConfigError, listing the available cells, if no id or
    more than one matches, or if the id belongs to a quality cell.
    """
    there = [cell for cell in cells if cell.kind == "performance"]
    if not there:
        raise ConfigError(["this sweep has no performance cells, and only those can be profiled; see its key `kinds`"])
    if cell_id is None and r is None and schedule is None:
        raise ConfigError(["which cell? Give the start of its id, or --r or --schedule.", *_list(there)])
    if cell_id is not None:
        there = _by_id(cells, there, cell_id)
    found = [cell for cell in there if fits(cell, r, schedule)]
    if not found:
        asked = [f"r = {r}"] * (r is not None) + [f"schedule '{schedule}'"] * (schedule is not None)
        near = get_close_matches(schedule or "", [_schedule(cell) for cell in there], n=1)
        hint = f"; the nearest schedule is '{near[0]}'" if near else ""
        raise ConfigError([f"no performance cell has {' and '.join(asked)}{hint}. There are:", *_list(there)])
    return tuple(found)


def fits(cell: Cell, r: int | None, schedule: str | None) -> bool:
    """Return whether a cell has that `r` and that schedule; None matches any."""
    name, _, rest = _schedule(cell).partition(":")
    count, _, inflection = rest.partition(":")
    if name in ("list", "keep", "speedup"):  # schedules without an r
        count, family = "", _schedule(cell)
    else:
        family = f"{name}:{inflection}" if inflection else name
    if cell.reduction is None:
        return r == 0 or (r is None and schedule in (None, name))
    return (r is None or count == str(r)) and schedule in (None, name, family, _schedule(cell))


def _by_id(cells: Sequence[Cell], there: Sequence[Cell], cell_id: str) -> list[Cell]:
    """Return the cells with one id: several if the sweep runs it on several devices."""
    found = [cell for cell in cells if cell.id.startswith(cell_id.lower())]
    if len({cell.id for cell in found}) > 1:
        raise ConfigError([f"'{cell_id}' begins {len(found)} ids; give more of the one you mean:", *_list(found)])
    if not found:
        ids = {cell.id: cell for cell in there}
        near = get_close_matches(cell_id.lower(), ids, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]} ({ids[near[0]].title})?" if near else ""
        raise ConfigError([f"no cell '{cell_id}'.{hint} There are:", *_list(there)])
    if found[0].kind != "performance":
        raise ConfigError([f"{found[0].id} is a quality cell; only performance cells are profiled:", *_list(there)])
    return found


def _schedule(cell: Cell) -> str:
    return str(cell.reduction.schedule) if cell.reduction else "unmerged"


def _list(cells: Sequence[Cell]) -> list[str]:
    return [f"  {cell.id}  {cell.title}" for cell in cells]
