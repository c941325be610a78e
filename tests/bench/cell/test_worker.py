"""A cell measured for real, on a small model with random weights; the baselines against independent computations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from shallow_model import CLASSES, DEPTH, FRAMES, TOKENS, create_shallow

from bench.cell import baselines, worker
from bench.cell.answers import Context
from bench.cell.baselines import tome_plain
from bench.cell.feature_set import FeatureSet
from bench.records.predictions import encode_predictions
from bench.records.store import hash_array
from bench.sweep.cells import Cell, ModelRef
from bench.sweep.config import DataConfig, MeasureConfig
from bench.sweep.data import resolve_data
from fastast.data.identity import hash_ids
from fastast.hosts import reduce
from fastast.reduction import TokenReduction
from fastast.schedule import Constant, PerBlock

MEASURE = MeasureConfig(
    baselines=("unmerged", "slice", "tome_plain"),
    threads=1,
    rounds=3,
    min_seconds=0.0,
    max_seconds=0.2,
    warmup_seconds=0.0,
    noise_limit=100.0,
    energy_seconds=0.0,
)


def cell(**changes: object) -> Cell:
    reduction = TokenReduction(schedule=Constant(8))
    usual = Cell(
        kind="performance",
        model=ModelRef(name="ast_tiny", path=None, sha256=None, frames=FRAMES),
        reduction=reduction,
        attention="auto",
        dtype="float32",
        device="cpu",
        seed=0,
        measure=MEASURE,
        batch_size=2,
    )
    return dataclasses.replace(usual, **changes)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_shallow(num_frames=FRAMES).eval()


@pytest.fixture(scope="module")
def fbank():
    return torch.randn(2, FRAMES, 128, generator=torch.Generator().manual_seed(1))


def test_a_performance_cell_is_measured_as_it_was_asked():
    answer = worker.answer(cell(), Context())
    by_hand = tuple(TOKENS - 8 * (i + 1) for i in range(DEPTH))
    assert answer.model.tokens_in == TOKENS
    assert answer.model.tokens_measured == answer.model.tokens_planned == by_hand
    assert answer.model.weights == "random"
    assert answer.attention.kernel == "mask"
    assert answer.attention.backend_ran == "flash_cpu"
    assert answer.machine.threads == 1
    assert list(answer.performance.arms) == ["candidate", "unmerged", "slice", "tome_plain"]
    assert all(len(arm.seconds) >= 3 for arm in answer.performance.arms.values())
    assert {arm.batch_size for arm in answer.performance.arms.values()} == {2}
    assert answer.model.macs_counted == answer.model.macs_per_clip < answer.model.macs_unmerged


def test_the_unmerged_cell_is_timed_against_itself():
    answer = worker.answer(cell(reduction=None), Context())
    assert list(answer.performance.arms) == ["candidate", "unmerged", "tome_plain"]
    assert answer.model.tokens_measured == (TOKENS,) * DEPTH
    assert answer.model.macs_per_clip == answer.model.macs_unmerged


def test_the_backend_of_explicit_attention_is_math():
    answer = worker.answer(
        cell(attention="math", measure=MEASURE.model_copy(update={"baselines": ("unmerged",)})), Context()
    )
    assert (answer.attention.asked, answer.attention.kernel, answer.attention.backend_ran) == ("math",) * 3


def test_threads_are_set_and_recorded():
    for threads in (2, 1):
        machine, _ = worker.probe("cpu", threads)
        assert machine.threads == torch.get_num_threads() == threads


def quality_cell(tmp_path, frames: int = FRAMES):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(6, frames, 128)).astype(np.float32)
    np.save(tmp_path / "features.npy", features)
    labels = (generator.random((6, CLASSES)) < 0.5).astype(np.uint8)
    feature_set = FeatureSet(
        path=tmp_path / "features.npy",
        ids=tuple("abcdef"),
        labels=labels,
        classes=tuple(f"class {i}" for i in range(CLASSES)),
        clips_sha256="0",
        matches_reference=None,
    )
    return cell(kind="quality", batch_size=None, data=resolve_data(DataConfig(clips=6))), features, feature_set


def test_a_quality_cell_scores_the_reduced_model_and_compares_it_with_the_unmerged_one(tmp_path, model):
    asked, features, feature_set = quality_cell(tmp_path)
    unmerged = worker.answer(dataclasses.replace(asked, reduction=None), Context(features=feature_set))
    with torch.inference_mode():
        expected = model(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(unmerged.predictions.values, expected, atol=1e-4)
    assert unmerged.predictions.values.dtype == np.float32
    assert (unmerged.quality.activation, unmerged.quality.columns, unmerged.quality.accuracy) == ("sigmoid", None, None)
    assert unmerged.quality.delta is None
    assert unmerged.hashes == {"ids_sha256": hash_ids("abcdef"), "labels_sha256": hash_array(feature_set.labels)}

    (tmp_path / "reference.npz").write_bytes(encode_predictions(unmerged.predictions, unmerged.hashes))
    context = Context(features=feature_set, reference=("123456789abc", tmp_path / "reference.npz"))
    merged = worker.answer(asked, context)
    assert merged.quality.delta.against == "123456789abc"
    assert merged.quality.delta.mAP == pytest.approx(merged.quality.mAP - unmerged.quality.mAP)
    assert merged.quality.delta.largest_score_difference > 0
    assert len(merged.quality.AP) == CLASSES

    other = dataclasses.replace(feature_set, ids=tuple("abcdeg"))
    assert worker.answer(asked, dataclasses.replace(context, features=other)).quality.delta is None


def test_baselines_share_weights_and_leave_the_model_alone(model, fbank):
    reduction = TokenReduction(schedule=Constant(8))
    before = model(fbank)
    twin, sliced = baselines.unmerged(model), baselines.sliced(model, reduction.schedule)
    handle = reduce(model, reduction)
    try:
        assert twin.blocks is model.blocks
        torch.testing.assert_close(twin(fbank), before)
        assert sliced.attached is not model.attached
    finally:
        handle.remove()
    torch.testing.assert_close(model(fbank), before)


def test_slice_keeps_the_first_tokens_of_every_block(model, fbank):
    counts = (30, 0, 20)
    sliced = baselines.sliced(model, PerBlock(counts))
    with torch.inference_mode():
        x = model.embed(fbank)
        for block, r in zip(model.blocks, counts, strict=True):  # the same by plain slicing
            out, _ = block.attn(block.norm1(x), None, "math")
            x = (x + out)[:, : x.shape[1] - r]
            x = x + block.mlp(block.norm2(x))
        torch.testing.assert_close(sliced.forward_features(fbank), model.norm(x))
    assert x.shape[1] == TOKENS - 50


@pytest.mark.parametrize("proportional", [True, False])
def test_plain_tome_agrees_with_the_engine(model, fbank, proportional):
    reduction = TokenReduction(schedule=Constant(8), proportional=proportional)
    plain = baselines.PlainToMe(model, reduction.removals(model.geometry), proportional=proportional)
    twin = baselines.unmerged(model)
    reduce(twin, reduction)
    with torch.inference_mode():
        torch.testing.assert_close(plain(fbank), twin(fbank), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(plain.tokens(fbank), twin.forward_features(fbank), atol=1e-3, rtol=1e-3)


def test_plain_tome_merges_token_by_token_as_the_paper_says():
    """One merge in float64, with loops over tokens instead of tensor operations."""
    generator = np.random.default_rng(3)
    x, metric = generator.normal(size=(12, 4)), generator.normal(size=(12, 3))
    size, r = generator.integers(1, 5, 12).astype(float), 3
    unit = metric / np.linalg.norm(metric, axis=1, keepdims=True)
    offers = []
    for a in range(2, 12, 2):  # 0 is the class token
        partner = max(range(3, 12, 2), key=lambda b: unit[a] @ unit[b])  # 1 is the distillation token
        offers.append((unit[a] @ unit[partner], a, partner))
    merged = {a: b for _, a, b in sorted(offers, reverse=True)[:r]}
    groups = {token: [token] for token in range(12) if token not in merged}
    for a, b in merged.items():
        groups[b].append(a)
    order = [0, 1, *[a for a in range(2, 12, 2) if a not in merged], *range(3, 12, 2)]
    expected = np.array([np.average(x[groups[t]], axis=0, weights=size[groups[t]]) for t in order])
    out, sizes = tome_plain._merge(*(torch.from_numpy(v)[None] for v in (x, size[:, None], metric)), r)
    np.testing.assert_allclose(out[0], expected)
    np.testing.assert_allclose(sizes[0, :, 0], [size[groups[t]].sum() for t in order])


def test_plain_tome_caps_r_without_a_word(model, fbank):
    plain = baselines.PlainToMe(model, (100, *(0,) * (DEPTH - 1)))
    with torch.inference_mode():
        assert plain.tokens(fbank).shape[1] == TOKENS - (TOKENS - 2) // 2


def test_attention_over_sizes_is_that_of_repeated_tokens(model):
    """A token of size s counts as s equal tokens (ToMe, section 3.2)."""
    block = model.blocks[0]
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(1, 5, 192, generator=generator)
    repeats = torch.tensor([1, 3, 1, 2, 1])
    plain = baselines.PlainToMe(model, (0,) * DEPTH)
    with torch.inference_mode():
        out, _ = plain._attend(block.attn, x, repeats[None, :, None].float())
        expected, _ = plain._attend(block.attn, x.repeat_interleave(repeats, 1), None)
        first = torch.cat([torch.zeros(1, dtype=torch.int64), repeats.cumsum(0)[:-1]])
        torch.testing.assert_close(out, expected[:, first], atol=1e-5, rtol=1e-4)
