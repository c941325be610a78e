"""Gate values: `gates.toml`, which `python -m bench.regression.update` writes, and what is said against them.

A proxy must not be above its gate, a ratio not below; tokens per block must be equal. Better is never a failure.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.statistics import Estimate

PATH = Path(__file__).with_name("gates.toml")
RATIO_TOLERANCE = 0.1
"""How far below its gate a ratio may be, as a share: other processors merge and multiply at other relative speeds."""
UPDATE = "python -m bench.regression.update"

Gates = dict[str, Any]


class GateError(ValueError):
    """Gate values that are not there or cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said of one measured value."""

    state: Literal["ok", "worse", "better"]
    """`worse` is a failure; `better` is told, so that the gate can be tightened."""
    text: str
    """Value, gate and what to do."""


def load_gates(path: Path = PATH) -> Gates:
    """Read the gate values. Raises GateError naming the file and what to do."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GateError(f"{path}: cannot be read ({error}); write it with `{UPDATE}`") from None


def find_gate(gates: Mapping[str, Any], *keys: str) -> Any:
    """Return the value under nested `keys`. Raises GateError naming them where there is none."""
    value: Any = gates
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            device = f" --device {keys[1]}" if keys[0] == "ratios" else ""
            raise GateError(f"{PATH.name}: has no {'.'.join(keys)}; measure it with `{UPDATE}{device}` and commit it")
        value = value[key]
    return value


def judge_proxy(name: str, value: int | list[int], gate: int | list[int], *, made_with: str) -> Verdict:
    """Judge a deterministic count. `made_with` is the PyTorch that the gate's values are of."""
    if value == gate:
        return Verdict(state="ok", text=f"{name}: {value}, as the gate")
    if isinstance(value, list) or isinstance(gate, list):
        text = f"{name}: {value}, the gate has {gate}: another computation. If it is meant, run `{UPDATE}`"
        return Verdict(state="worse", text=text)
    if value < gate:
        text = f"{name}: {value:,} is better than the gate of {gate:,}; keep it with `{UPDATE}`"
        return Verdict(state="better", text=text)
    return Verdict(state="worse", text=f"{name}: {value:,} is above the gate of {gate:,}{_torch(made_with)}")


def judge_ratio(name: str, measured: Estimate, gate: float, *, tolerance: float = RATIO_TOLERANCE) -> Verdict:
    """Judge a ratio of which more is better: it fails only where its whole interval is below gate less tolerance."""
    shown = f"{name}: {measured.value:.3f} [{measured.low:.3f}, {measured.high:.3f}]"
    floor, ceiling = gate * (1 - tolerance), gate * (1 + tolerance)
    if measured.high < floor:
        text = f"{shown} is wholly below {floor:.3f}, the gate of {gate:.3f} less {tolerance:.0%}"
        return Verdict(state="worse", text=text)
    if measured.low > ceiling:
        return Verdict(state="better", text=f"{shown} is better than the gate of {gate:.3f}; keep it with `{UPDATE}`")
    return Verdict(state="ok", text=f"{shown}, the gate is {gate:.3f}")


def to_toml(gates: Mapping[str, Any]) -> str:
    """Return the text of a gate file: numbers, strings and lists of numbers in nested tables."""
    lines = [f"# Written by `{UPDATE}`, never by hand."]
    _write_table(gates, (), lines)
    return "\n".join(lines) + "\n"


def _write_table(table: Mapping[str, Any], keys: tuple[str, ...], lines: list[str]) -> None:
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if values:
        lines += ["", f"[{'.'.join(keys)}]"]
        lines += [f"{key} = {_toml_value(value)}" for key, value in values.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(value, (*keys, key), lines)


def _toml_value(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _torch(made_with: str) -> str:
    import torch

    if torch.__version__.split("+")[0] == made_with:
        return ""
    return (
        f". The gate is of PyTorch {made_with}, this is {torch.__version__}: try that one before you look for a cause"
    )
