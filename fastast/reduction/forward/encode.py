"""The one forward pass over an encoder's blocks, for inference, training and profiling, on modules or on kernels.

Shapes: `b` batch, `n` tokens that enter a block, `p` tokens that leave it, `d` width.

`BlockStages` say what a block consists of; where in it tokens go is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fastast.reduction.forward.buckets import joined
from fastast.reduction.forward.reducer import Reducer
from fastast.reduction.forward.scope import Scope, unwatched

if TYPE_CHECKING:
    from fastast.reduction.forward.attach import AttachedReduction
    from fastast.reduction.forward.buckets import Bucket
    from fastast.reduction.forward.stages import BlockStages, HeadTensors
    from fastast.reduction.forward.trace import MergeTrace


def encode(
    stages: BlockStages,
    x: Tensor,
    attached: AttachedReduction | None,
    *,
    trace: MergeTrace | None = None,
    scope: Scope = unwatched,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run every block on x (b, n, d); return the tokens (b, p, d), what the head reads of them, and sizes (b, p).

    `trace` records the merges and the number of tokens of every block that computes all tokens. `scope` wraps every
    part. Where clips keep their own number of tokens and there is no trace, those of different length run on separately
    (`buckets`).
    """
    return _run(Reducer(stages, attached, scope), x, stages.open(x), None, trace=trace)


def _run(
    reducer: Reducer,
    x: Tensor,
    normed: Tensor,
    passed: tuple[Tensor, HeadTensors] | None,
    *,
    first: int = 0,
    trace: MergeTrace | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run the blocks from `first` on. `passed`: what entered the previous block and its heads, where still needed."""
    stages, attached, scope = reducer.stages, reducer.attached, reducer.scope
    shape = stages.shape
    removals = attached.removals if attached else (0,) * shape.depth
    place = attached.reduction.place if attached else "between"
    # Tokens that go after each block: only where some do are its input and its heads still needed, and kept.
    behind = {"between": (0,) * shape.depth, "before": (*removals[1:], 0), "after": removals}[place]
    for block in range(first, shape.depth):
        r = removals[block]
        with scope(block, ""):
            num_tokens, plan, short = x.shape[1], None, None
            heads: HeadTensors | None = None
            if r and place == "before":
                x, normed, plan = reducer.reduce_behind(block, r, passed, x)
            entered = x if behind[block] else None
            if block == shape.depth - 1 and (attached is None or attached.spares_the_head(shape)):
                with scope(block, "attention"):
                    short = stages.finish(x, normed, reducer.weights)
            if short is not None:
                x, normed = short
            else:
                x, normed, heads, between = reducer.attend(
                    block, x, normed, r=r if place == "between" else 0, keep=behind[block] > 0
                )
                plan = plan if between is None else between
            with scope(block, "mlp"):
                branch = stages.mlp(block, normed)
            x, normed = stages.close(block, x, branch)
            passed = None if entered is None or heads is None else (entered, heads)
            if r and place == "after" and short is None:
                x, normed, plan = reducer.reduce_behind(block, r, passed, x)
            if trace is not None and short is None:
                trace.add(plan, num_tokens, x)
        if r and trace is None and block < shape.depth - 1 and len(found := reducer.buckets()) > 1:
            passed = passed if place == "before" else None
            return _run_apart(reducer, x, normed, passed, found, first=block + 1)
    return x, normed, reducer.size


def _run_apart(
    reducer: Reducer,
    x: Tensor,
    normed: Tensor,
    passed: tuple[Tensor, HeadTensors] | None,
    found: list[Bucket],
    *,
    first: int,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run the remaining blocks, from `first`, bucket by bucket."""
    ends = []
    for bucket in found:
        part: tuple[Tensor, HeadTensors] | None = None
        if passed is not None:
            q, k, v = (bucket.of(heads, dim=2) for heads in passed[1])
            part = bucket.of(passed[0]), (q, k, v)
        ends.append(_run(reducer.part(bucket), bucket.of(x), bucket.of(normed), part, first=first))
    x, normed, size = (joined(parts, found) for parts in zip(*ends, strict=True))
    return x, normed, size
