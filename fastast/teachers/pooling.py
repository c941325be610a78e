"""Pool a CNN's feature map into logits: mean pooling, and PSLA's attention pooling.

Shapes: `b` batch, `d` channels, `t` time, `h` heads, `c` classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SMALLEST = 1e-7
"""Minimum distance of weights and probabilities from 0 and 1."""


class MeanPooling(nn.Module):
    """Mean over time, then a linear layer, as in CMKD (Gong et al. 2022, arXiv 2203.06760)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (b, d, t) to logits (b, c)."""
        return self.linear(features.mean(-1))

    def again(self, num_classes: int) -> MeanPooling:
        """Return a randomly initialised pooling of the same kind for other classes."""
        return MeanPooling(self.linear.in_features, num_classes)

    def reorder(self, columns: Sequence[int]) -> None:
        """Reorder the outputs: the new output `i` is the old output `columns[i]`, (c,)."""
        reorder_outputs(self.linear, columns)


class AttentionPooling(nn.Module):
    """PSLA's attention pooling with several heads (Gong, Chung, Glass 2021, arXiv 2102.01243).

    For every head and class, a(t) = sigmoid(W_a x(t)), divided by its sum over time, weights p(t) = sigmoid(W_p x(t));
    the heads' results are added with learned weights. Here these weights go through a softmax, and are equal at the
    start as in PSLA, so that the sum remains a probability; its logit is returned, so that any loss on logits applies.
    """

    def __init__(self, channels: int, num_classes: int, num_heads: int = 4) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_classes = num_classes
        self.attention = nn.Conv1d(channels, num_heads * num_classes, 1)
        self.classifier = nn.Conv1d(channels, num_heads * num_classes, 1)
        self.head_weights = nn.Parameter(torch.zeros(num_heads))
        for layer in (self.attention, self.classifier):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (b, d, t) to logits (b, c)."""
        b, _, t = features.shape
        with torch.autocast(features.device.type, enabled=False):  # logits near 0 and 1 need float32
            features = features.float() if features.dtype != torch.float64 else features
            shape = (b, self.num_heads, self.num_classes, t)
            weight = self.attention(features).view(shape).sigmoid().clamp(SMALLEST, 1 - SMALLEST)  # (b, h, c, t)
            weight = weight / weight.sum(-1, keepdim=True)
            probability = (weight * self.classifier(features).view(shape).sigmoid()).sum(-1)  # (b, h, c)
            probability = torch.einsum("h,bhc->bc", self.head_weights.softmax(0), probability)
            return torch.logit(probability, eps=SMALLEST)

    def again(self, num_classes: int) -> AttentionPooling:
        """Return a randomly initialised pooling of the same kind for other classes."""
        return AttentionPooling(self.attention.in_channels, num_classes, self.num_heads)

    def reorder(self, columns: Sequence[int]) -> None:
        """Reorder the outputs of every head: the new output `i` is the old output `columns[i]`, (c,)."""
        for layer in (self.attention, self.classifier):
            reorder_outputs(layer, columns, heads=self.num_heads)


@torch.no_grad()
def reorder_outputs(layer: nn.Linear | nn.Conv1d, columns: Sequence[int], *, heads: int = 1) -> None:
    """Reorder a layer's outputs, for each of `heads` consecutive groups: the new output `i` is the old `columns[i]`."""
    assert layer.bias is not None
    for parameter in (layer.weight, layer.bias):
        by_head = parameter.view(heads, len(columns), -1)  # (h, c, d)
        by_head.copy_(by_head[:, list(columns)].clone())
