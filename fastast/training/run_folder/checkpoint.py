"""The state of a run on disk: written whole or not at all, and enough to resume and reach the very same weights.

A state is a folder `state-<step>` of safetensors and JSON; nothing in it is ever executed. It is written under a
temporary name and then renamed, so that a kill leaves either the previous state or the new one. Random number
generators need no state: the seed of everything that a step draws is derived from the recipe's seed and the step's
number.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fastast.system.writing import place_whole

PREFIX = "state-"
VERSION = 1


class ResumeError(ValueError):
    """A run that cannot be resumed, or a folder that holds another run; nothing was written."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Complete state of a run after a step."""

    step: int
    """Number of steps done."""
    notes: Mapping[str, Any]
    """Counters and scores, as JSON."""
    tensors: Mapping[str, Mapping[str, Tensor]]
    """Tensors by key of `model`, `optimiser`, and, if the recipe has them, `ema` or `mean`; on the CPU once loaded."""


def latest(folder: Path) -> Path | None:
    """Return the folder of the state with the most steps; None if there is no state."""
    found = [path for path in folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal()]
    return max(found, key=lambda path: int(path.name.removeprefix(PREFIX)), default=None)


def save_state(folder: Path, state: State) -> Path:
    """Write a state, remove all others, and return its folder."""
    target = folder / f"{PREFIX}{state.step:09d}"
    for left in folder.glob(f".{PREFIX}*.tmp"):  # left by a run that was killed
        shutil.rmtree(left)
    if not target.exists():
        _write(state, folder / f".{target.name}.{os.getpid()}.tmp", target)
    for old in folder.glob(f"{PREFIX}*"):
        if old != target and old.name.removeprefix(PREFIX).isdecimal():
            shutil.rmtree(old)
    return target


def _write(state: State, temporary: Path, target: Path) -> None:
    said = "" if latest(target.parent) is None else ", but the previous one is still there"
    try:
        temporary.mkdir(parents=True)
        for name, tensors in state.tensors.items():
            whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(whole, temporary / f"{name}.safetensors")
        notes = {"version": VERSION, "step": state.step, "tensors": sorted(state.tensors), "notes": dict(state.notes)}
        (temporary / "state.json").write_text(json.dumps(notes), encoding="utf-8")
        place_whole(temporary, target)
    except (SafetensorError, OSError) as error:  # safetensors raises its own error if the disk is full
        number = re.search(r"os error (\d+)", str(error))
        code = error.errno if isinstance(error, OSError) else int(number[1]) if number else None
        what = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise OSError(code or errno.EIO, f"{what}: the state was not saved{said}", str(target)) from None


def load_state(path: Path) -> State:
    """Read a state. Raises ResumeError if its version is another one, or a file of it is missing or damaged."""
    try:
        content = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise ResumeError(
                f"{path}: this state has version {content['version']}; this FastAST reads version {VERSION}"
            )
        tensors = {}
        for name in content["tensors"]:
            with safe_open(path / f"{name}.safetensors", framework="pt") as file:
                tensors[name] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        step, notes = content["step"], content["notes"]
        if isinstance(step, bool) or not isinstance(step, int) or not isinstance(notes, dict):
            raise TypeError(f"step is {step!r}, notes are {str(notes)[:40]}")
        return State(step=step, notes=notes, tensors=tensors)
    except ResumeError:
        raise
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ResumeError(
            f"{path}: the state of the run is damaged ({error}); start anew in another folder with --out"
        ) from error


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state, running means and step counters, by `<parameter>.<name>`."""
    return {
        f"{index}.{name}": value
        for index, entry in optimiser.state_dict()["state"].items()
        for name, value in entry.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the optimiser's state; its parameter groups stay those of the recipe.

    Files hold tensors row by row, whatever the parameter's memory format (such as channels last), whereas fused
    optimisers go through memory in order: every mean is brought back into its parameter's memory format.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = _in_order_of(parameters[int(index)], value)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _in_order_of(parameter: Tensor, value: Tensor) -> Tensor:
    """Return `value` in the memory format of a parameter of the same shape; a step counter is returned as it is."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device, requires_grad=False).copy_(value)
