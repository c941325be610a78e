"""What the blocks of models in plain torch make of their tokens, for as long as one looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from torch import Tensor

from fastast.reduction import MergePlan
from fastast.reduction.forward.stages import ModuleStages


@dataclass
class Seen:
    """One entry per block that ran."""

    sizes: list[Tensor | None] = field(default_factory=list)
    plans: list[MergePlan | None] = field(default_factory=list)


@contextmanager
def watch_blocks() -> Iterator[Seen]:
    """Note the plan and the sizes of every block of every model that runs meanwhile."""
    seen, merge, close = Seen(), ModuleStages.merge, ModuleStages.close
    made: list[tuple[MergePlan, Tensor | None]] = []

    def noted_merge(stages: Any, tokens: Any, plan: MergePlan, reduction: Any) -> Any:
        out = merge(stages, tokens, plan, reduction)
        made.append((plan, out[2]))
        return out

    def noted_close(stages: Any, block: int, x: Tensor, branch: Tensor) -> Any:
        before = seen.sizes[-1] if block else None
        plan, size = made.pop() if made else (None, before)
        seen.plans.append(plan)
        seen.sizes.append(size)
        return close(stages, block, x, branch)

    with mock.patch.object(ModuleStages, "merge", noted_merge), mock.patch.object(ModuleStages, "close", noted_close):
        yield seen
