"""The values that the axes of a sweep allow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, get_args

from bench.sweep.complaints import as_toml, at

FAMILIES = ("constant", "decreasing", "increasing", "early", "late", "first", "linear:INFLECTION")
"""Schedules that are combined with every `r` of the grid."""
WHOLE = (
    "constant:R",
    "decreasing:R",
    "increasing:R",
    "linear:R:INFLECTION",
    "early:R",
    "late:R",
    "first:R",
    "keep:RATIO",
    "speedup:X[:INFLECTION]",
    "list:R1,R2,...",
    "a file of `fastast tune` (.toml)",
)
"""Schedules that are complete in themselves, written as everywhere else."""
DTYPES = ("float32", "bfloat16", "float16", "int8")
"""int8: the blocks' products with weights, calibrated on training clips; everything else is then float32."""
FLOATING = ("float32", "bfloat16", "float16")
"""Types that PyTorch itself computes in."""
LENGTHS = ("padded", "own")
"""Ways to run a clip that is shorter than the model's input."""
DEVICES = ("auto", "cpu", "cuda")
"""Besides these, a GPU type as Ray spells it, such as `H100` or `RTX-A6000`; whether it exists is checked later."""


def takes_r(schedule: str) -> bool:
    """Return whether a schedule of the grid is a family, which takes its number of tokens from `grid.r`."""
    name, _, rest = schedule.partition(":")
    return (name == "linear" and ":" not in rest) or (name in FAMILIES and not rest)


def schedule_text(schedule: str, r: int) -> str:
    """Return a schedule of the grid in full: `linear:-0.5`, 40 -> `linear:40:-0.5`; a whole one stays as it is."""
    if not takes_r(schedule):
        return schedule
    name, _, inflection = schedule.partition(":")
    return f"{name}:{r}:{inflection}" if inflection else f"{name}:{r}"


def check_schedule(value: str, index: int) -> None:
    """Raise where `value` is neither a family nor a whole schedule."""
    from fastast.schedule import ScheduleError, parse_schedule
    from fastast.schedule.file import ScheduleFileError, is_schedule_file

    names = tuple(dict.fromkeys(form.partition(":")[0] for form in WHOLE))
    name = value.partition(":")[0]
    if not is_schedule_file(value) and (name not in names or value == "linear"):
        near = get_close_matches(name, [one for one in names if one != name], n=1)
        hint = f" did you mean {near[0]!r}?" if near else ""
        allowed = f"with the numbers of grid.r: {', '.join(FAMILIES)}; alone: {', '.join(WHOLE)}"
        raise at(index, f"{as_toml(value)} is not a schedule;{hint} allowed {allowed}")
    try:
        parse_schedule(schedule_text(value, 0))
    except (ScheduleError, ScheduleFileError) as error:
        raise at(index, str(error)) from None


def is_gpu_type(value: str) -> bool:
    """Return whether a device is written like a GPU type: a capital first, and none of `DEVICES` in capitals."""
    return re.fullmatch(r"[A-Z][A-Za-z0-9]*(-[A-Za-z0-9]+)*", value) is not None and value.lower() not in DEVICES


def allowed_values(axis: str) -> tuple[str, ...]:
    """Return the names that an axis allows."""
    if axis == "dtype":
        return DTYPES
    if axis == "length":
        return LENGTHS
    if axis == "device":
        return (*DEVICES, "a GPU type such as H100")
    if axis == "engine":
        from bench.sweep.engines import ENGINES

        return ENGINES.names()
    if axis == "attention":
        from fastast.attention import ATTENTION_KERNELS

        return ATTENTION_KERNELS
    from fastast.macs import BlockPlace
    from fastast.reduction import method_names
    from fastast.reduction.spec import CombineChoice, Excess

    names = {"combine": get_args(CombineChoice), "place": get_args(BlockPlace), "excess": get_args(Excess)}
    return method_names() if axis == "method" else names[axis]


def option_problem(methods: Sequence[str], name: str, value: Any) -> str | None:
    """Return why no method of a grid allows a value for an option; None where one does."""
    from fastast.reduction import get_method
    from fastast.reduction.options import allowed_text, option_types, value_fits

    kinds = [option_types(get_method(method).options) for method in methods]
    allowed = [kind[name] for kind in kinds if name in kind]
    if any(value_fits(kind, value) for kind in allowed):
        return None
    known = list(dict.fromkeys(allowed_text(kind) for kind in allowed))
    choices = [choice for text in known for choice in text.split(", ")]
    article = "an" if name[0] in "aeiou" else "a"
    near = get_close_matches(str(value), choices, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return f"{as_toml(value)} is not {article} {name};{hint} allowed: {', or '.join(known)}"
