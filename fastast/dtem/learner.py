"""A merge embedding in training: its layers, their optimiser, and a training step.

Shapes: `k` blocks, `b` clips of a step, `f` frames, `m` mel bins, `d` width of a token, `w` width of an embedding, `c`
classes.

The embedding learns to merge so that the answers stay those of the unmerged model, whose weights are frozen. Labels
are not used. (The paper uses the loss of the task; a frozen model's own answers say more, and need no labels.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fastast.data.sampling import draw_seed
from fastast.dtem.question import MergingQuestion
from fastast.dtem.soft import soft_forward
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import AttachedReduction, TokenReduction
from fastast.reduction.embedding import MergeEmbedding, embedded
from fastast.training.not_finite import NotFiniteError
from fastast.training.precision import autocast
from fastast.training.run_folder.checkpoint import State, load_optimiser, optimiser_tensors
from fastast.training.trainer import label_loss


def keys_of_blocks(model: AudioSpectrogramTransformer) -> tuple[Tensor, Tensor]:
    """Return the layers whose embedding is what ToMe compares: each block's keys, averaged over heads.

    The affine part of a block's norm and its projection are combined into one map after a plain norm: weight (k, w, d)
    and bias (k, w), where w is the width of a head.
    """
    heads, weights, biases = model.geometry.num_heads, [], []
    blocks: list[Any] = list(model.blocks)  # torch types them as tensors or modules
    for block in blocks:
        d = model.geometry.embed_dim
        projection = block.attn.qkv.weight[d : 2 * d].unflatten(0, (heads, -1)).mean(0)  # (w, d)
        own = block.attn.qkv.bias
        bias = projection.new_zeros(d) if own is None else own[d : 2 * d]  # (d,)
        weights.append(projection * block.norm1.weight)
        biases.append(projection @ block.norm1.bias + bias.unflatten(0, (heads, -1)).mean(0))
    return torch.stack(weights).detach().clone(), torch.stack(biases).detach().clone()


class MergeLearner:
    """The layers of all blocks and their optimiser."""

    def __init__(self, question: MergingQuestion, model: AudioSpectrogramTransformer, device: torch.device) -> None:
        """Start from ToMe's metric. `model`: in evaluation mode, on `device`, without reduction.

        Raises ReductionError if a schedule removes more tokens than a block can.
        """
        self.question, self.device = question, device
        self.model, self.loss = model.requires_grad_(False), model.loss or "bce"
        self._attached = [
            AttachedReduction.of(TokenReduction(schedule=text), model.encoder)  # type: ignore[arg-type]
            for text in question.schedules
        ]
        weight, bias = (nn.Parameter(one.float()) for one in keys_of_blocks(model))
        self.weight, self.bias = weight, bias
        self.optimiser = torch.optim.Adam([self.weight, self.bias], lr=question.lr)

    def step(self, step: int, fbank: Tensor) -> float:
        """Learn from filterbanks (b, f, m); return by how much the loss exceeds that of the unmerged model itself.

        The loss is in nats, per class and clip for `bce` and per clip for `ce`. The learning rate falls along a cosine.
        Raises NotFiniteError for a loss that is NaN or infinite.
        """
        asked = self.question
        for group in self.optimiser.param_groups:
            group["lr"] = asked.lr * 0.5 * (1 + math.cos(math.pi * step / asked.steps))
        attached = self._attached[draw_seed(asked.seed, "schedule", step) % len(self._attached)]
        fbank = fbank.to(self.device)
        with autocast(self.device, asked.precision):
            with torch.no_grad():
                unmerged = self.model(fbank).float()  # (b, c)
                wanted = unmerged.sigmoid() if self.loss == "bce" else unmerged.softmax(-1)
            merged = soft_forward(self.model, fbank, attached, self._embed, temperature=asked.temperature)  # (b, c)
        loss = label_loss(merged, wanted, self.loss)
        if not torch.isfinite(loss):
            raise NotFiniteError(f"learn-merging: step {step}: the loss is NaN or infinite; lower --lr ({asked.lr:g})")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach() - label_loss(unmerged, wanted, self.loss))

    def result(self, training: Mapping[str, Any]) -> MergeEmbedding:
        """Return the current embedding; `training`: notes to store with it."""
        return MergeEmbedding(
            weight=self.weight.detach().clone(),
            bias=self.bias.detach().clone(),
            model=self.question.model,
            rows=self.model.encoder.grid[0],
            training=training,
        )

    def state(self, step: int) -> State:
        """Return the complete state of the training after `step` steps."""
        layers = {"weight": self.weight.detach(), "bias": self.bias.detach()}
        tensors = {"layers": layers, "optimiser": optimiser_tensors(self.optimiser)}
        return State(step=step, notes={"question": self.question.to_dict()}, tensors=tensors)

    def load(self, state: State) -> None:
        """Restore the training from `state`."""
        with torch.no_grad():
            self.weight.copy_(state.tensors["layers"]["weight"])
            self.bias.copy_(state.tensors["layers"]["bias"])
        load_optimiser(self.optimiser, state.tensors["optimiser"])

    def _embed(self, x: Tensor, block: int) -> Tensor:
        return embedded(x, self.weight[block], self.bias[block])
