"""Averages of weights: exponential during training, AST's mean over the ends of epochs, and with the initial ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of a model's weights; buffers of integers are copied.

    The decay rises with the number of updates, min(decay, (1 + updates) / (10 + updates)), so that the random initial
    weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state: dict[str, Tensor] = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Include the weights after a step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, new = [], []
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                mine.append(self.state[key])
                new.append(value.detach())
            else:
                self.state[key].copy_(value)
        torch._foreach_lerp_(mine, new, 1 - decay)

    def load(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Continue from saved weights."""
        self.updates = updates
        for key, value in state.items():
            self.state[key].copy_(value)


class EpochMean:
    """Mean of the weights after each of several epochs (weight averaging; Gong et al. 2021, section 3.1)."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, model: nn.Module) -> None:
        """Include the weights at the end of an epoch."""
        self.count += 1
        for key, value in model.state_dict().items():
            # In float64, so that the mean does not depend on the order of the epochs; of counters, the last is kept.
            # Always a copy, as weights that are already in float64 continue to change.
            wide = value.detach().to(torch.float64 if value.is_floating_point() else value.dtype, copy=True)
            self.sum[key] = self.sum[key] + wide if key in self.sum and value.is_floating_point() else wide

    def mean(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean, in the dtypes of `like`."""
        return {
            key: (self.sum[key] / self.count if value.is_floating_point() else self.sum[key]).to(value.dtype)
            for key, value in like.items()
        }

    def load(self, state: Mapping[str, Tensor], count: int) -> None:
        """Continue from a saved sum over `count` epochs."""
        self.count = count
        self.sum = {key: value.clone() for key, value in state.items()}


@torch.no_grad()
def interpolated(weights: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return `weights` with a share of `start`; integers are taken from `weights`.

    On the line from fine-tuned weights to those they started from, some weights often beat both ends (Wortsman et al.
    2022, arXiv 2109.01903).
    """
    return {
        key: value.lerp(start[key].to(value), share) if value.is_floating_point() else value
        for key, value in weights.items()
    }
