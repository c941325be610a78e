"""The devices of a sweep: `auto`, `cpu`, `cuda`, or a type of GPU such as `H100`.

Every launcher spells GPU types as Ray does, so that the same sweep file works with all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def gpu_type(name: str) -> str:
    """Return the type of a GPU from its full name, as Ray spells it.

    `NVIDIA H100 80GB HBM3` -> `H100`, `NVIDIA RTX A6000` -> `RTX-A6000`, `NVIDIA GeForce RTX 4090` ->
    `GeForce-RTX-4090`. Memory sizes are not distinguished: both A100s are `A100`.
    """
    words = name.split()
    capitals: list[str] = []
    for word in words[1:]:
        model = re.match(r"[A-Z0-9]+", word)
        if model and any(letter.isdigit() for letter in model.group()):
            return "-".join([*capitals, model.group()])
        if not re.fullmatch("[A-Z]+", word):
            break
        capitals.append(word)
    return "-".join(words[1:] if words[:1] == ["NVIDIA"] else words)


def resolve_local(device: str) -> str:
    """Return `cpu` or `cuda` for a device of a sweep. Raises ValueError if this machine does not have it."""
    from bench.measure.machine import resolve_device

    if device in ("auto", "cpu", "cuda"):
        return resolve_device(device)
    import torch

    if not torch.cuda.is_available():
        raise ValueError(f"'{device}' is not here: PyTorch finds no CUDA device; allowed on this machine: auto, cpu")
    name = torch.cuda.get_device_name()
    here = gpu_type(name)
    if device != here:
        raise ValueError(
            f"'{device}' is not here: the GPU is a {name}; allowed on this machine: auto, cpu, cuda, {here}"
        )
    return "cuda"


def resolve_among(device: str, types: Iterable[str], *, cpu: bool, where: str) -> str:
    """Return `cpu` or a GPU type for a device of a sweep, given the GPU types of a cluster.

    `auto` and `cuda` stand for the cluster's only GPU type. Raises ValueError for a device that the cluster does not
    have, or that is ambiguous.
    """
    known = sorted(set(types))
    allowed = [*known, *(["cpu"] if cpu else [])]
    if device in ("auto", "cuda") and len(known) > 1:
        raise ValueError(f"'{device}' could be any of {', '.join(known)} in {where}; name one, or several")
    if device == "auto" and allowed:
        return allowed[0]
    if device == "cuda" and known:
        return known[0]
    if device in allowed:
        return device
    has = "GPUs: " + ", ".join(known) if known else "no GPU"
    raise ValueError(f"'{device}' is not in {where}, which has {has}; allowed: {', '.join(allowed) or 'nothing'}")


def on_node(device: str) -> str:
    """Return PyTorch's name of a device on the machine that has it: `cuda` for every GPU type."""
    return "cpu" if device == "cpu" else "cuda"
