"""Gate values: `gates.toml`, which `python -m bench.regression.update` writes.

Counts are the same on all machines. Ratios are kept by machine, as the speed of merging relative to that of multiplying
depends on the processor.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("gates.toml")
RATIO_TOLERANCE = 0.15
"""How far a ratio may be below its gate, as a share, on the machine on which the gate was measured.

This is more than the noise of one run: ratios of one clip have differed by 14 % between runs of the same build.
"""
OTHER_MACHINE_TOLERANCE = 0.3
"""The same on another machine, as the relative speeds of merging and multiplying differ between processors."""
UPDATE = "python -m bench.regression.update"

Gates = dict[str, Any]


class GateError(ValueError):
    """Gate values are missing or cannot be read."""


@dataclass(frozen=True, kw_only=True)
class RatioGate:
    """Values that the ratios of one case must reach."""

    ratios: dict[str, float]
    """Gate values by the name of the ratio."""
    tolerance: float
    """How far a ratio may be below its gate, as a share."""
    note: str
    """Warning about a gate from another machine; empty if it is from this one."""


def load_gates(path: Path = PATH) -> Gates:
    """Read the gate values. Raises GateError that names the file and says what to do."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GateError(f"{path}: cannot be read ({error}); write it with `{UPDATE}`") from None


def proxy_gate(gates: Gates, name: str) -> dict[str, Any]:
    """Return the counts of a case such as `r20`. Raises GateError if there are none."""
    found: dict[str, Any] | None = gates.get("proxies", {}).get(name)
    if found is None:
        raise GateError(
            f"{PATH.name}: has no proxies.{name}; count them with `{UPDATE} --only proxies` and commit the file"
        )
    return found


def ratio_gate(gates: Gates, machine: str, device: str, case: str) -> RatioGate:
    """Return the gate of a case on this machine or, if it has none, on the first machine with the same kind of device.

    Raises GateError if there is none at all.
    """
    by_machine: dict[str, Any] = gates.get("ratios", {})
    own = by_machine.get(machine)
    others = [name for name, table in by_machine.items() if table["device"] == device]
    write = f"measure them with `{UPDATE} --only ratios --device {device}` and commit the file"
    if own is None and not others:
        raise GateError(f"{PATH.name}: has no ratios of a machine with {device}; {write}")
    of = machine if own is not None else others[0]
    if case not in by_machine[of]:
        raise GateError(f"{PATH.name}: has no ratios.{of}.{case}; {write}")
    if own is not None:
        return RatioGate(ratios=own[case], tolerance=RATIO_TOLERANCE, note="")
    return RatioGate(
        ratios=by_machine[of][case],
        tolerance=OTHER_MACHINE_TOLERANCE,
        note=f"{PATH.name} has no ratios of {machine}: those of {of} are used, with a tolerance of "
        f"{OTHER_MACHINE_TOLERANCE:.0%} instead of {RATIO_TOLERANCE:.0%}; {write}",
    )


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
