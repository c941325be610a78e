"""Lineage: where on the patch grid the tokens of a block came from, computed only where a method needs it.

Shapes: `b` batch, `N` original tokens, `n` tokens of this block, `f'` and `t'` patches along frequency and time.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fastast.reduction.forward.buckets import Bucket
from fastast.reduction.once import once
from fastast.reduction.plan import MergePlan

NO_PLACE = -1.0
"""Stands for frequency and time of a prefix token, which is not a patch."""


class AsPlan(Protocol):
    """A plan in the form in which it was applied."""

    def to_merge_plan(self) -> MergePlan:
        """Return the plan."""
        ...


class Lineage:
    """The tokens of a block, as earlier merges made them."""

    def __init__(
        self,
        num_prefix_tokens: int,
        grid: tuple[int, int],
        *,
        parent: Lineage | None = None,
        plan: MergePlan | AsPlan | None = None,
        size: Tensor | None = None,
    ) -> None:
        """Without a parent, the original tokens; else what `plan` made of the parent's, of sizes `size` (b, n)."""
        self._num_prefix_tokens, self._grid = num_prefix_tokens, grid
        self._parent, self._plan, self._size = parent, plan, size

    def merged(self, plan: MergePlan | AsPlan, size: Tensor | None) -> Lineage:
        """Return the lineage of what `plan` made of these tokens, whose sizes were `size` (b, n)."""
        return Lineage(self._num_prefix_tokens, self._grid, parent=self, plan=plan, size=size)

    @once
    def plan(self) -> MergePlan:
        """The plan that made these tokens."""
        assert self._plan is not None
        return self._plan if isinstance(self._plan, MergePlan) else self._plan.to_merge_plan()

    def part(self, bucket: Bucket, batch: int) -> Lineage:
        """Return the lineage of the clips in a bucket, out of a batch of `batch` clips."""
        return _PartOfLineage(self._num_prefix_tokens, self._grid, whole=self, bucket=bucket, batch=batch)

    def owners(self, batch: int, device: torch.device) -> Tensor:
        """Return the original token that owns each of these, (b, n) int64."""
        if self._parent is None:
            count = self._num_prefix_tokens + self._grid[0] * self._grid[1]
            return torch.arange(count, device=device).expand(batch, -1)
        return self.plan.take_owners(self._parent.owners(batch, device))

    def places(self, batch: int, device: torch.device) -> Tensor:
        """Return frequency and time of each token's owner in patches, (b, n, 2) float32; NO_PLACE for prefix tokens."""
        return self._original(device)[self.owners(batch, device)]  # (b, n, 2)

    def centres(self, batch: int, device: torch.device) -> Tensor:
        """Return frequency and time of each token's centre of mass in patches, (b, n, 2) float32.

        A prefix token has NO_PLACE, and a token that merged with one is drawn towards it.
        """
        if self._parent is None:
            return self._original(device).expand(batch, -1, -1)
        return self.plan.merge(self._parent.centres(batch, device), self._size, "size")[0]

    def _original(self, device: torch.device) -> Tensor:
        """Return frequency and time of the original tokens, (N, 2)."""
        rows, columns = self._grid
        frequency = torch.arange(rows, dtype=torch.float32, device=device).repeat_interleave(columns)
        time = torch.arange(columns, dtype=torch.float32, device=device).repeat(rows)
        prefix = torch.full((self._num_prefix_tokens, 2), NO_PLACE, device=device)
        return torch.cat([prefix, torch.stack([frequency, time], dim=-1)])


class _PartOfLineage(Lineage):
    """The lineage of some clips of a batch."""

    def __init__(
        self, num_prefix_tokens: int, grid: tuple[int, int], *, whole: Lineage, bucket: Bucket, batch: int
    ) -> None:
        super().__init__(num_prefix_tokens, grid)
        self._whole, self._bucket, self._batch = whole, bucket, batch

    def owners(self, batch: int, device: torch.device) -> Tensor:
        return self._bucket.of(self._whole.owners(self._batch, device))

    def centres(self, batch: int, device: torch.device) -> Tensor:
        return self._bucket.of(self._whole.centres(self._batch, device))
