"""Cells of forwards, waveforms and training steps on the engine's kernels, in Triton's interpreter."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_worker import cell

from bench.cell import arms, inputs, model_facts, performance, worker
from bench.cell.answers import Context
from bench.measure import gates
from fastast.geometry import Geometry
from fastast.kernels import filterbank
from fastast.model import AudioSpectrogramTransformer

pytestmark = pytest.mark.slow

ROUNDS = 2


@pytest.fixture
def interpreter(monkeypatch):
    """Kernels in Python, a model that is small enough for it, and two rounds, whatever else this machine does."""
    if torch.cuda.is_available():
        pytest.skip("the interpreter is for machines without a CUDA device")
    from tests.fastast.kernels.interpreter import interpret

    interpret(monkeypatch)
    monkeypatch.setattr(worker, "build_cell_model", lambda ref, seed: tiny_model())
    monkeypatch.setattr("bench.measure.rounds.MIN_ROUNDS", ROUNDS)
    monkeypatch.setattr(performance.Judge, "each", lambda self, rounds: [()] * len(rounds))


def tiny_model(frames: int = 46) -> AudioSpectrogramTransformer:
    torch.manual_seed(0)
    return AudioSpectrogramTransformer(
        Geometry(embed_dim=32, depth=2, num_heads=2, num_classes=5, num_mel_bins=16, num_frames=frames)
    ).eval()


def on_engine(scope: str, *baselines: str, schedule: str | None = "constant:1"):
    """Few calls: one clip, no warm-up to speak of, two rounds."""
    usual = cell(batch_size=1)
    few = {"warmup_iterations": 1, "warmup_window": 1, "rounds": ROUNDS, "bound_tolerance": 99.0}
    reduction = dataclasses.replace(usual.reduction, schedule=schedule) if schedule else None
    return dataclasses.replace(
        usual,
        model=dataclasses.replace(usual.model, engine="triton"),
        measure=usual.measure.model_copy(update={"scope": scope, "baselines": ("unmerged", *baselines), **few}),
        reduction=reduction,
    )


def test_a_forward_on_the_kernels_says_so(interpreter) -> None:
    answer = worker.answer(on_engine("forward", "slice"), Context())
    assert list(answer.performance.arms) == ["candidate", "unmerged", "slice"]
    assert (answer.attention.kernel, answer.attention.backend_ran) == ("triton", "triton_interpreter")
    assert (answer.engine.path, answer.engine.why_plain) == ("triton", "")
    assert answer.engine.kernels["weighted_attention"] == "triton"
    # A row of 4 patches and the two tokens beside them, less 1 and 1.
    assert answer.model.tokens_measured == answer.model.tokens_planned == (5, 4)
    assert all(gate.passed for gate in answer.gates)


@pytest.mark.slow
def test_a_cell_from_waveforms_on_the_kernels_says_so(interpreter, monkeypatch) -> None:
    monkeypatch.setattr(worker, "build_cell_model", lambda ref, seed: tiny_model(frames=16))
    answer = worker.answer(on_engine("waveform", "model_alone", schedule=None), Context())
    assert list(answer.performance.arms) == ["candidate", "unmerged", "model_alone"]
    assert (answer.engine.path, answer.engine.kernels["filterbank"]) == ("triton", "triton")
    found = {gate.name: gate for gate in answer.gates}
    assert found["front_end"].passed
    assert found["front_end"].value > 0
    assert found["front_end"].limit == 1e-3
    assert all(gate.passed for gate in answer.gates)


def test_a_wrong_front_end_is_seen(interpreter, monkeypatch) -> None:
    model, asked = tiny_model(frames=16), on_engine("waveform")
    with torch.inference_mode():
        right = model_facts.difference_by_front_end(model, asked)
        kernel = filterbank.filterbank
        monkeypatch.setattr(filterbank, "filterbank", lambda *given, **options: kernel(*given, **options) + 0.5)
        wrong = model_facts.difference_by_front_end(model, asked)
    assert gates.front_end_is_the_models(right, "float32").passed
    assert not gates.front_end_is_the_models(wrong, "bfloat16").passed


def test_a_training_step_on_the_kernels_says_so(interpreter) -> None:
    answer = worker.answer(on_engine("training_step", "slice"), Context())
    assert list(answer.performance.arms) == ["candidate", "unmerged", "slice"]
    assert (answer.engine.path, answer.engine.why_plain) == ("triton", "")
    assert answer.engine.kernels["weighted_attention"] == answer.engine.kernels["merge_norm"] == "triton"
    assert answer.engine.kernels["patch_tokens"] == answer.engine.kernels["linear_gelu"] == "torch"
    assert answer.attention.backend_ran == "triton_interpreter"
    assert answer.model.tokens_measured == answer.model.tokens_planned == (5, 4)
    assert all(gate.passed for gate in answer.gates)


def test_on_the_kernels_the_same_is_learnt(interpreter) -> None:
    """Candidate on the kernels against the plain model with the same reduction."""
    model, asked = tiny_model(), on_engine("training_step")
    given = inputs.inputs_of(asked, model, "candidate", 1)
    plain = dataclasses.replace(asked, model=dataclasses.replace(asked.model, engine="plain"))
    steps = [arms.build_arms(cell, model, model)["candidate"] for cell in (asked, plain)]
    for _ in range(3):
        losses = [step(*given) for step in steps]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)
