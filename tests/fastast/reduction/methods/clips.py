"""Random tokens of a block that some tokens have left before, as tensors and, clip by clip, as NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fastast.encoder import EncoderShape
from fastast.reduction import BlockTokens, MergePlan
from fastast.reduction.forward.lineage import Lineage

ROWS, COLUMNS, PREFIX, DEPTH = 3, 7, 2, 4
SHAPE = EncoderShape(embed_dim=8, depth=DEPTH, num_heads=2, mlp_dim=16, num_prefix_tokens=PREFIX, grid=(ROWS, COLUMNS))


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip, in float64."""

    before: np.ndarray
    branch: np.ndarray
    queries: np.ndarray
    keys: np.ndarray
    size: np.ndarray
    row: np.ndarray
    """-1 for a prefix token."""
    column: np.ndarray

    @property
    def count(self) -> int:
        return len(self.size)

    @property
    def free(self) -> range:
        return range(PREFIX, self.count)

    def cosine(self, i: int, j: int) -> float:
        """Of the keys, averaged over heads."""
        left, right = self.keys[:, i].mean(0), self.keys[:, j].mean(0)
        return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))

    def attention(self, i: int) -> float:
        """How much both prefix tokens attend to token i in both heads, on average."""
        total = 0.0
        for head in range(2):
            for prefix in range(PREFIX):
                scores = [self.queries[head, prefix] @ self.keys[head, j] / 2 for j in range(self.count)]  # sqrt(4)
                weights = [self.size[j] * np.exp(scores[j] - max(scores)) for j in range(self.count)]
                total += weights[i] / sum(weights)
        return total / (2 * PREFIX)


def tokens_of(
    seed: int, *, left: int = 17, batch: int = 2, block: int = 1, draw_seed: int = 0
) -> tuple[BlockTokens, list[Clip]]:
    """Return `left` patches and both prefix tokens of every clip, the patches in the order of their positions."""
    rng = np.random.default_rng(seed)
    n = left + PREFIX
    owners = np.stack([
        np.concatenate([np.arange(PREFIX), PREFIX + np.sort(rng.choice(ROWS * COLUMNS, left, replace=False))])
        for _ in range(batch)
    ])  # fmt: skip
    before, branch = rng.standard_normal((2, batch, n, 8))
    queries, keys, values = rng.standard_normal((3, batch, 2, n, 4))
    size = rng.integers(1, 6, (batch, n)).astype(np.float64)
    size[:, :PREFIX] = 1
    plan = MergePlan(num_tokens=SHAPE.num_tokens, owner=torch.from_numpy(owners))
    tokens = BlockTokens(
        torch.from_numpy(before),
        torch.from_numpy(branch),
        (torch.from_numpy(queries), torch.from_numpy(keys), torch.from_numpy(values)),
        torch.from_numpy(size).float(),
        shape=SHAPE,
        num_protected=PREFIX,
        block=block,
        lineage=Lineage(PREFIX, SHAPE.grid).merged(plan, None),
        seed=draw_seed,
    )
    clips = [
        Clip(
            before=before[i],
            branch=branch[i],
            queries=queries[i],
            keys=keys[i],
            size=size[i],
            row=np.where(owners[i] < PREFIX, -1, (owners[i] - PREFIX) // COLUMNS),
            column=np.where(owners[i] < PREFIX, -1, (owners[i] - PREFIX) % COLUMNS),
        )
        for i in range(batch)
    ]
    return tokens, clips


def groups(plan: MergePlan, clip: int, batch: int = 2) -> tuple[set[frozenset[int]], set[int]]:
    """Return the tokens of every slot of a clip, and the dropped ones."""
    slot = plan.slot(batch, torch.device("cpu"))[clip].tolist()
    made = {frozenset(i for i, s in enumerate(slot) if s == k) for k in range(plan.num_slots)}
    return made, {i for i, s in enumerate(slot) if s < 0}


def pairs_as_groups(clip: Clip, pairs: list[tuple[int, int]]) -> set[frozenset[int]]:
    """Return the groups in which the first token of every pair has joined the second."""
    target = dict(pairs)
    return {frozenset([i, *(a for a, b in pairs if b == i)]) for i in range(clip.count) if i not in target}


def best_pairs(scores: dict[tuple[int, int], tuple[float, ...]], r: int) -> list[tuple[int, int]]:
    """Return, of the best partner of every first token, the `r` best pairs; of equals the lower positions."""
    best: dict[int, tuple[tuple[float, ...], int]] = {}
    for (a, b), score in sorted(scores.items()):
        if a not in best or score > best[a][0]:
            best[a] = (score, b)
    chosen = sorted(sorted(best), key=lambda a: best[a][0], reverse=True)[:r]
    return [(a, best[a][1]) for a in chosen]
