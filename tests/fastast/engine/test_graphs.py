"""Captured CUDA graphs against the same engine run eagerly."""

from __future__ import annotations

import pytest
import torch

import fastast
from fastast.reduction import TokenReduction
from fastast.schedule import Constant

pytestmark = pytest.mark.gpu

MERGED = TokenReduction(schedule=Constant(3))
CUDA = "cuda"


@pytest.mark.parametrize("reduction", [None, MERGED], ids=["unmerged", "merged"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_captured_equals_eager(tiny_model, tiny_fbank, reduction, dtype) -> None:
    eager = fastast.compile(tiny_model, reduction, dtype=dtype, device=CUDA)
    captured = fastast.compile(tiny_model, reduction, dtype=dtype, device=CUDA, batch_size=3)
    assert captured.batch_sizes == (3,)
    fbank = tiny_fbank.to(CUDA)
    for clips in (fbank, -fbank, fbank):  # a graph that ignores its input would repeat the first
        assert torch.equal(captured(clips), eager(clips))
    assert not torch.equal(captured(fbank), captured(-fbank))


def test_other_batch_sizes_run_eagerly(tiny_model, tiny_fbank) -> None:
    engine = fastast.compile(tiny_model, MERGED, device=CUDA, batch_size=(1, 3))
    fbank = tiny_fbank.to(CUDA)
    whole = engine(fbank)
    torch.testing.assert_close(engine(fbank[:1]), whole[:1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(engine(fbank[:2]), whole[:2], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(engine(fbank.repeat(2, 1, 1)), whole.repeat(2, 1), rtol=1e-5, atol=1e-5)


def test_results_outlive_the_next_call(tiny_model, tiny_fbank) -> None:
    engine = fastast.compile(tiny_model, MERGED, device=CUDA, batch_size=3)
    first = engine(tiny_fbank.to(CUDA))
    kept = first.clone()
    engine(-tiny_fbank.to(CUDA))
    assert torch.equal(first, kept)


def test_inputs_on_the_cpu_are_moved(tiny_model, tiny_fbank) -> None:
    engine = fastast.compile(tiny_model, device=CUDA, batch_size=3)
    assert torch.equal(engine(tiny_fbank), engine(tiny_fbank.to(CUDA)))
    pinned = tiny_fbank.pin_memory()
    expected = engine(tiny_fbank)
    got = engine(pinned)
    pinned.zero_()  # the copy is over when the call returns
    assert torch.equal(got, expected)


def test_two_engines_do_not_disturb_each_other(tiny_model, tiny_fbank) -> None:
    fbank = tiny_fbank.to(CUDA)
    one = fastast.compile(tiny_model, device=CUDA, batch_size=3)
    before = one(fbank)
    other = fastast.compile(tiny_model, MERGED, device=CUDA, batch_size=3)
    merged = other(fbank)
    for _ in range(3):
        assert torch.equal(one(fbank), before)
        assert torch.equal(other(fbank), merged)
    del other
    torch.cuda.empty_cache()
    assert torch.equal(one(fbank), before)


def test_an_engine_made_in_inference_mode_works_outside(tiny_model, tiny_fbank) -> None:
    with torch.inference_mode():
        engine = fastast.compile(tiny_model, MERGED, device=CUDA, batch_size=3)
        inside = engine(tiny_fbank)
    assert torch.equal(engine(tiny_fbank), inside)


def test_a_callers_autocast_is_not_captured(tiny_model, tiny_fbank) -> None:
    engine = fastast.compile(tiny_model, MERGED, device=CUDA, batch_size=3)
    with torch.autocast("cuda", torch.bfloat16):
        inside = fastast.compile(tiny_model, MERGED, device=CUDA, batch_size=3)
        logits = inside(tiny_fbank)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, engine(tiny_fbank))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_each_device_has_graphs_of_its_own(tiny_model, tiny_fbank) -> None:
    """Whichever device is the current one, and whichever was captured on first."""
    engines = [fastast.compile(tiny_model, MERGED, device=f"cuda:{i}", batch_size=3) for i in range(2)]
    for _ in range(2):
        first, second = (engine(tiny_fbank) for engine in engines)
        assert (first.device.index, second.device.index) == (0, 1)
        torch.testing.assert_close(first.cpu(), second.cpu(), rtol=1e-5, atol=1e-5)
        assert not torch.equal(engines[1](-tiny_fbank), second)
