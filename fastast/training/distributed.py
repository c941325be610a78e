"""The processes of a run: one, or several that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fastast.system.devices import find_device


@dataclass(frozen=True, kw_only=True)
class World:
    """The place of this process among those of the run."""

    rank: int = 0
    """Number of this process; process 0 writes files and messages."""
    size: int = 1
    """Number of processes."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Device that this process computes on."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model wrapped so that its gradients are averaged over the processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def from_leader(self, value: Any) -> Any:
        """Return the value of process 0."""
        return self.gather(value)[0]

    def leaders(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Copy the tensors of process 0 into those of every other process, in place, and return them."""
        if self.size > 1:
            for tensor in tensors.values():
                dist.broadcast(tensor, 0)
        return tensors

    def largest(self, value: Tensor) -> Tensor:
        """Return the elementwise maximum over the tensors of all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value, dist.ReduceOp.MAX)
        return value


def is_one_of_several() -> bool:
    """Return whether torchrun started this process, possibly as one of several."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def prints() -> bool:
    """Return whether this process prints what all processes know: it runs alone, or torchrun gave it rank 0."""
    return not is_one_of_several() or int(os.environ["RANK"]) == 0


@contextmanager
def open_world(device: str = "auto") -> Iterator[World]:
    """Join the processes that torchrun started, or run alone; the backend is gloo on a CPU, NCCL on GPUs.

    Raises ValueError for an unknown device or a GPU that is not here.
    """
    found = find_device(device)
    cuda = found.type == "cuda"
    if not is_one_of_several():
        yield World(device=found)
        return
    local = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), device=local)
    finally:
        dist.destroy_process_group()
