"""The kernels in a forward of the engine and the work of each, counted block by block from the tokens that it gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.gpu import work
from bench.gpu.work import Work
from fastast.geometry import Geometry


@dataclass(frozen=True, kw_only=True)
class KernelPart:
    """A kernel in one stage of a forward, all launches together."""

    stage: str
    """Label that `bench.profiling` gives the stage."""
    kernel: str
    """Name of the device function as profilers show it; empty where the library or plain torch chooses its own."""
    calls: int
    """Number of launches; a stage in plain torch counts once per run, however many kernels it launches."""
    work: Work
    """Total work of all launches."""


def forward_parts(
    geometry: Geometry, removals: Sequence[int], batch: int, *, proportional: bool = True
) -> tuple[KernelPart, ...]:
    """Return the parts of a forward in half precision that merges `removals[i]` tokens in block i, as ToMe does.

    In the last block, the engine computes only the head's tokens, so nothing merges there. The head's norm and linear
    layer are left out, as they process one token per clip.
    """
    found: dict[tuple[str, str], tuple[int, Work]] = {}
    for stage, kernel, done in _launches(geometry, removals, batch, proportional):
        calls, before = found.get((stage, kernel), (0, Work()))
        found[stage, kernel] = calls + 1, before + done
    return tuple(
        KernelPart(stage=stage, kernel=kernel, calls=calls, work=done)
        for (stage, kernel), (calls, done) in found.items()
    )


def _launches(
    geometry: Geometry, removals: Sequence[int], b: int, proportional: bool
) -> Iterator[tuple[str, str, Work]]:
    """Yield the stage, device function and work of every launch, in launch order."""
    shape = geometry.encoder
    n, d, h, e, k, o = (
        shape.num_tokens, shape.embed_dim, shape.num_heads, shape.head_dim, shape.num_prefix_tokens, shape.mlp_dim
    )  # fmt: skip
    patches = work.patch_tokens_work(
        b, n, k, d, frames=geometry.num_frames, mel_bins=geometry.num_mel_bins, side=geometry.patch_size
    )
    yield "patch tokens", "patch_tokens_forward", patches
    yield "first norm", "", work.norm_work(b * n, d)
    merged = False
    for r in removals[:-1]:
        p = n - r
        yield "qkv", "", work.product(b * n, d, 3 * d)
        yield "weighted attention", "attention_forward", work.attention(b, n, h, e, sized=merged and proportional)
        yield "projection", "", work.product(b * n, d, d)
        if r:
            yield "key metric", "key_metric_forward", work.key_metric_work(b, n, h, e)
            yield "best partner", "best_partner_forward", work.best_partner_work(b, n, e)
            yield "merge plan", "rank_pairs", work.rank_pairs(b, n)
            yield "merge plan", "write_plan", work.write_plan(b, n, r)
            yield "merge + norm", "merge_norm_forward", work.merge_norm_work(b, n, p, d, sized=merged)
            merged = True
        else:
            yield "add + norm", "add_norm_forward", work.add_norm_work(b * n, d)
        yield "mlp, first product", "linear_gelu_forward", work.linear_gelu_work(b * p, d, o)
        yield "mlp, second product", "", work.product(b * p, o, d)
        yield "add + norm", "add_norm_forward", work.add_norm_work(b * p, d)
        n = p
    yield "head's tokens", "", work.heads_tokens(b, n, k, h, d, sized=merged and proportional)
    yield "add + norm", "add_norm_forward", work.add_norm_work(b * k, d)
    yield "mlp, first product", "linear_gelu_forward", work.linear_gelu_work(b * k, d, o)
    yield "mlp, second product", "", work.product(b * k, o, d)
    yield "add + norm", "add_norm_forward", work.add_norm_work(b * k, d)
