"""FastAST's merging and its whole accelerated model against the NumPy oracle in `tests/oracles/numpy_tome.py`.

Which tokens merge is a discrete choice: two correct programs may choose differently where two similarities are closer
than rounding. Nothing is hidden by a loose tolerance here. Random cases run in float64, where rounding (1e-16) is
far below the narrowest choice, which the oracle reports and the tests demand to be wide; cases about ties use vectors
whose cosines are exact in any order of summation, so that a tie is a tie for everyone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from block_watch import watch_blocks
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastast.geometry import Geometry
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace, TokenReduction, source_sizes
from fastast.reduction.choosing.compare import Metric
from fastast.reduction.choosing.matching import Order, bipartite_soft_matching
from fastast.reduction.plan import MergePlan
from fastast.schedule import Constant, Linear, PerBlock, Schedule
from tests.oracles import numpy_tome as oracle

WIDE = 1e-9
"""A choice decided by at least this difference of cosines is far from rounding in float64."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """These models are so small that a second thread costs more than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plan_of(metric: np.ndarray, r: int, p: int, order: str) -> MergePlan:
    return bipartite_soft_matching(torch.from_numpy(metric)[None], r, num_protected=p, order=order)


def slots(plan: MergePlan) -> np.ndarray:
    return plan.slot(1, torch.device("cpu"))[0].numpy()


@st.composite
def blocks(draw: st.DrawFn) -> tuple[int, int, str, list[int], np.random.Generator]:
    """Tokens, protected tokens, order, the removals of one to five blocks, and numbers to fill them with."""
    n, p = draw(st.integers(2, 41)), draw(st.integers(0, 3))
    order = draw(st.sampled_from(["tome", "position"]))
    rs, left = [], n
    for _ in range(draw(st.integers(1, 5))):
        rs.append(draw(st.integers(0, oracle.most_removable(left, p))))
        left -= rs[-1]
    return n, p, order, rs, np.random.default_rng(draw(st.integers(0, 2**32)))


@given(blocks())
@settings(max_examples=80)
def test_merging_block_after_block_equals_the_oracle(drawn: tuple[int, int, str, list[int], Any]) -> None:
    n, p, order, rs, rng = drawn
    x, sizes = rng.standard_normal((n, 5)), np.ones(n)
    ours, our_sizes = torch.from_numpy(x)[None], None
    for r in rs:
        metric = rng.standard_normal((len(x), 8))
        matching = oracle.match(metric, r, p, order)
        assume(matching.margin > WIDE)
        if r == 0:
            matching = oracle.Matching(slot_of=np.arange(len(x)), owner_of=np.arange(len(x)), margin=np.inf)
        x, sizes = oracle.merge(x, sizes, matching)

        plan = plan_of(metric, r, p, order)
        ours, our_sizes = plan.merge(ours, our_sizes)
        np.testing.assert_array_equal(slots(plan), matching.slot_of)
        np.testing.assert_allclose(ours[0].numpy(), x, rtol=0, atol=1e-5)
        if our_sizes is not None:
            np.testing.assert_array_equal(our_sizes[0].numpy(), sizes)
    assert sizes.sum() == n


def exact_vectors(rng: np.random.Generator, n: int, kinds: int, dtype: Any) -> np.ndarray:
    """n vectors, copies of at most `kinds` different ones, whose norms and cosines carry no rounding at all.

    Four entries of one half make a norm of exactly 1; powers of two and zero vectors keep divisions exact.
    """
    pool = np.zeros((kinds, 8))
    for vector in pool[1:]:  # the first stays zero
        vector[rng.choice(8, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    scale = 2.0 ** rng.integers(-3, 4, (n, 1))
    return (pool[rng.integers(0, kinds, n)] * scale).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(blocks(), st.integers(2, 8))
@settings(max_examples=60)
def test_exact_ties_and_zero_keys_are_decided_like_the_oracle(
    dtype: Any, drawn: tuple[int, int, str, list[int], Any], kinds: int
) -> None:
    n, p, order, rs, rng = drawn
    metric = exact_vectors(rng, n, kinds, dtype)
    np.testing.assert_array_equal(slots(plan_of(metric, rs[0], p, order)), expected_slots(metric, rs[0], p, order))


def expected_slots(metric: np.ndarray, r: int, p: int, order: str) -> np.ndarray:
    return oracle.match(metric, r, p, order).slot_of if r else np.arange(len(metric))


@pytest.mark.parametrize("p", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_padded_silence_merges_into_its_first_token(dtype: Any, p: int) -> None:
    """The second half of a clip is silence: identical tokens, as a short clip padded to ten seconds has."""
    rng = np.random.default_rng(p)
    metric = exact_vectors(rng, 121, 8, dtype)
    metric[60:] = [0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0]
    for r in (1, 20, oracle.most_removable(121, p)):
        for order in ("tome", "position"):
            np.testing.assert_array_equal(slots(plan_of(metric, r, p, order)), expected_slots(metric, r, p, order))


@dataclass(frozen=True)
class Run:
    """What one forward pass of FastAST left behind, first axis the clips."""

    logits: np.ndarray
    tokens: list[int]
    sizes: list[np.ndarray | None]
    sources: list[np.ndarray]
    owners: list[np.ndarray]


def build(frames: int = 96, depth: int = 12, seed: int = 0) -> AudioSpectrogramTransformer:
    """A float64 AST of 32 dimensions with 4 rows of patches, its weights large enough that tokens differ."""
    shape = Geometry(embed_dim=32, depth=depth, num_heads=2, num_classes=5, num_mel_bins=48, num_frames=frames)
    torch.manual_seed(seed)
    model = AudioSpectrogramTransformer(shape).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.15)
    return model


def clips(model: AudioSpectrogramTransformer, count: int = 2, seed: int = 1) -> Tensor:
    shape = (count, model.geometry.num_frames, model.geometry.num_mel_bins)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(model: AudioSpectrogramTransformer, fbank: Tensor, reduction: TokenReduction, attention: str = "auto") -> Run:
    trace = MergeTrace()
    with torch.no_grad(), reduce(model, reduction, attention=attention):
        with watch_blocks() as seen:
            model.forward_features(fbank, trace)
        logits = model(fbank)
    sizes = [None if size is None else size.numpy() for size in seen.sizes]
    owner = torch.arange(model.geometry.num_tokens).expand(len(fbank), -1)
    owners = []
    for plan in seen.plans:
        owner = owner if plan is None else plan.take_owners(owner)
        owners.append(owner.numpy())
    return Run(logits.numpy(), trace.tokens_per_block, sizes, [s.numpy() for s in trace.source], owners)


def expect(
    model: AudioSpectrogramTransformer, fbank: Tensor, rs: tuple[int, ...], **options: Any
) -> list[oracle.Forward]:
    """The oracle's answer for every clip; its narrowest choice must be wide enough to be compared."""
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    shape = model.geometry
    answers = [
        oracle.forward(
            weights, clip, rs, num_heads=shape.num_heads, fstride=shape.fstride, tstride=shape.tstride, **options
        )
        for clip in fbank.numpy()
    ]
    assert min(answer.margin for answer in answers) > (1e-5 if fbank.dtype == torch.float32 else WIDE)
    return answers


def assert_equal(ours: Run, theirs: list[oracle.Forward], n: int) -> None:
    np.testing.assert_allclose(ours.logits, np.stack([t.logits for t in theirs]), rtol=0, atol=1e-5)
    for i, clip in enumerate(theirs):
        assert ours.tokens == clip.tokens_per_block
        for block in range(len(ours.tokens)):
            np.testing.assert_array_equal(ours.sources[block][i], clip.sources[block])
            np.testing.assert_array_equal(ours.owners[block][i], clip.owners[block])
            sizes = ours.sizes[block]
            if sizes is None:  # nothing merged so far
                np.testing.assert_array_equal(clip.sizes[block], 1)
                continue
            np.testing.assert_array_equal(sizes[i], clip.sizes[block])
            assert sizes[i].sum() == n
            np.testing.assert_array_equal(np.bincount(ours.sources[block][i]), sizes[i])


SCHEDULES: list[tuple[Schedule, tuple[int, ...]]] = [
    (Constant(0), (0,) * 12),
    (Constant(2), (2,) * 12),
    (Linear(2, -1.0), (4, 3, 3, 2, 2, 2, 1, 1, 1, 0, 0, 0)),
    (Linear(2, 1.0), (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4)),
    (PerBlock((0, 9, 0, 0, 5, 1, 0, 2, 0, 1, 0, 1)), (0, 9, 0, 0, 5, 1, 0, 2, 0, 1, 0, 1)),
]


@pytest.mark.parametrize("order", ["tome", "position"])
@pytest.mark.parametrize(("schedule", "rs"), SCHEDULES, ids=[str(schedule) for schedule, _ in SCHEDULES])
def test_twelve_blocks_give_the_oracles_logits(schedule: Schedule, rs: tuple[int, ...], order: Order) -> None:
    model = build()
    fbank = clips(model)
    reduction = TokenReduction(schedule=schedule, options={"order": order})
    ours = run(model, fbank, reduction)
    assert_equal(ours, expect(model, fbank, rs, order=order), model.geometry.num_tokens)
    assert ours.tokens == list(reduction.tokens_per_block(model.geometry))
    if order == "position":
        assert all((np.diff(owners) > 0).all() for owners in ours.owners)


def test_a_capped_schedule_gives_the_oracles_logits() -> None:
    model = build()
    fbank = clips(model)
    rs = tuple(oracle.capped(model.geometry.num_tokens, 2, [5] * 12))
    assert rs == (5, 5, 5, 5, 5, 5, 3, 1, 1, 0, 0, 0)  # 36 unprotected tokens, of which a block merges half
    ours = run(model, fbank, TokenReduction(schedule=Constant(5), excess="cap"))
    assert_equal(ours, expect(model, fbank, rs), model.geometry.num_tokens)


@given(st.integers(0, 2**32), st.integers(6, 12), st.data())
@settings(max_examples=12)
def test_any_list_of_removals_gives_the_oracles_logits(seed: int, columns: int, data: st.DataObject) -> None:
    model = build(frames=6 + 10 * columns, depth=4, seed=seed % 1000)
    fbank, rs, left = clips(model, 1, seed), [], model.geometry.num_tokens
    for _ in range(4):
        rs.append(data.draw(st.integers(0, oracle.most_removable(left, 2))))
        left -= rs[-1]
    ours = run(model, fbank, TokenReduction(schedule=PerBlock(tuple(rs))))
    assert_equal(ours, expect(model, fbank, tuple(rs)), model.geometry.num_tokens)


@pytest.mark.parametrize("attention", ["mask", "key_column", "value_fold", "math"])
@pytest.mark.parametrize("proportional", [True, False])
def test_every_attention_kernel_gives_the_oracles_logits(attention: str, proportional: bool) -> None:
    model = build()
    fbank = clips(model)
    ours = run(model, fbank, TokenReduction(schedule=Constant(2), proportional=proportional), attention)
    assert_equal(ours, expect(model, fbank, (2,) * 12, proportional=proportional), model.geometry.num_tokens)


@pytest.mark.parametrize("metric", ["keys", "queries", "values", "tokens"])
@pytest.mark.parametrize("num_protected", [0, 1, 2, 3])
def test_every_metric_and_protection_gives_the_oracles_logits(metric: Metric, num_protected: int) -> None:
    model = build(depth=3)
    fbank = clips(model)
    reduction = TokenReduction(schedule=Constant(6), options={"metric": metric}, num_protected=num_protected)
    theirs = expect(model, fbank, (6,) * 3, metric=metric, num_protected=num_protected)
    assert_equal(run(model, fbank, reduction), theirs, model.geometry.num_tokens)


def test_float32_merges_the_same_tokens() -> None:
    """The working precision: where choices are wide, float32 makes the same ones and its logits are close."""
    model = build().float()
    fbank = clips(model).float()
    ours = run(model, fbank, TokenReduction(schedule=Constant(2)))
    assert_equal(ours, expect(model, fbank, (2,) * 12), model.geometry.num_tokens)


def test_source_sizes_count_the_map() -> None:
    model = build(depth=3)
    ours = run(model, clips(model), TokenReduction(schedule=Constant(6)))
    for source, sizes, tokens in zip(ours.sources, ours.sizes, ours.tokens, strict=True):
        np.testing.assert_array_equal(source_sizes(torch.from_numpy(source), tokens).numpy(), sizes)
