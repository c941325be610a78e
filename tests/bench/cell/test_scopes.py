"""What is timed besides the forward: waveforms to labels, and a training step, measured for real on a small model."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from shallow_model import FRAMES, create_shallow
from test_worker import cell
from typer.testing import CliRunner

from bench.cell import arms, inputs, performance, worker
from bench.cell.answers import Context
from bench.cell.training_step import TrainingStep
from bench.cli import app
from bench.measure.conditions import unknown_conditions
from bench.records.export import to_frame
from bench.records.schema import ArmTimes
from bench.records.store import read_record, read_records
from bench.sweep.baselines import SCOPES
from bench.sweep.cells import canonical
from bench.sweep.complaints import ConfigError
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep
from fastast.engine import EngineFallbackWarning
from fastast.frontend import AUDIOSET, Frontend
from fastast.hosts import reduce
from fastast.kernels import available
from fastast.reduction import TokenReduction
from fastast.schedule import Constant

falls_back = pytest.mark.skipif(available("cpu"), reason="TRITON_INTERPRET=1 is set: nothing falls back")
NAMES = {
    "forward": ("unmerged", "slice", "timm"),
    "waveform": ("unmerged", "slice", "tome_plain", "timm", "model_alone"),
    "training_step": ("unmerged", "slice", "timm"),
}
SWEEP = """
name = "scoped"
kinds = ["performance"]
[model]
name = "ast_tiny"
frames = 16
[grid]
r = [0]
[measure]
rounds = 3
min_seconds = 0.0
max_seconds = 0.2
warmup_seconds = 0.0
noise_limit = 100.0
bound_tolerance = 99.0
energy_seconds = 0.0
threads = 1
"""


def scoped(scope: str, **changes: object):
    usual = {"scope": scope, "baselines": NAMES[scope], "bound_tolerance": 99.0}
    return cell(measure=cell().measure.model_copy(update=usual), **changes)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = create_shallow(num_frames=FRAMES, num_classes=527).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture(scope="module")
def answers():
    return {scope: worker.answer(scoped(scope), Context()) for scope in NAMES}


def fastest(answer, arm: str) -> float:
    return min(answer.performance.arms[arm].seconds)


def test_every_scope_times_its_arms(answers) -> None:
    for scope, names in NAMES.items():
        assert list(answers[scope].performance.arms) == ["candidate", *names]
        assert answers[scope].model.tokens_measured == answers[scope].model.tokens_planned
        assert answers[scope].performance.input == inputs.FED[scope]
    assert len(set(inputs.FED.values())) == len(SCOPES)


@pytest.mark.alone  # it holds times of two cells against each other
def test_a_training_step_takes_longer_than_the_forward_it_begins_with(answers) -> None:
    for arm in ("candidate", "unmerged", "slice", "timm"):
        # By arithmetic: the backward pass alone has twice the forward's products.
        assert fastest(answers["training_step"], arm) > 1.5 * fastest(answers["forward"], arm), arm


def test_the_front_end_runs_in_every_arm_but_the_models_alone(model, monkeypatch) -> None:
    asked, calls = scoped("waveform"), []
    built = arms.build_arms(asked, model, model)
    fed = {name: inputs.inputs_of(asked, model, name, 2) for name in built}
    forward = Frontend.forward
    monkeypatch.setattr(Frontend, "forward", lambda self, clips: (calls.append(1), forward(self, clips))[1])
    counts = {}
    with torch.inference_mode():
        for name, arm in built.items():
            calls.clear()
            arm(*fed[name])
            counts[name] = len(calls)
    assert counts == {"candidate": 1, **{name: int(name != "model_alone") for name in NAMES["waveform"]}}


def test_bounds_are_looked_at_where_they_are_bounds(answers) -> None:
    found = {scope: {gate.name: gate for gate in answer.gates} for scope, answer in answers.items()}
    assert all(gate.passed for gates in found.values() for gate in gates.values())
    assert found["waveform"].keys() - found["forward"].keys() == {"model_alone_bound"}
    assert found["waveform"]["mac_bound"].limit is not None
    assert found["training_step"]["mac_bound"].limit is None
    assert found["training_step"]["mac_bound"].message.startswith("not looked at: the multiply-accumulates are those")
    assert found["training_step"]["slice_bound"].limit == 100


def test_a_candidate_that_leaves_the_front_end_out_is_caught(answers) -> None:
    def arm(seconds: float) -> ArmTimes:
        return ArmTimes(seconds=(seconds,) * 5, iterations_per_round=1, batch_size=2, first_call_s=None, load=None)

    asked = cell(measure=scoped("waveform").measure.model_copy(update={"bound_tolerance": 0.25}))
    timed = {"candidate": arm(0.6), "unmerged": arm(0.7), "slice": arm(0.6), "model_alone": arm(0.9)}
    part = answers["waveform"].performance.model_copy(update={"arms": timed})
    found = performance.performance_gates(asked, create_shallow(num_frames=FRAMES).geometry, part, unknown_conditions())
    assert [gate.name for gate in found if not gate.passed] == ["model_alone_bound"]  # 0.9 / 0.6 is more than 1.25


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_arms_on_waveforms_have_the_logits_of_front_end_and_model(model, dtype) -> None:
    asked = scoped("waveform", dtype=dtype)
    own = copy.deepcopy(model).to(getattr(torch, dtype))
    candidate = copy.deepcopy(own)
    reduce(candidate, TokenReduction(schedule=Constant(8)))
    built = arms.build_arms(asked, own, candidate)
    noise = torch.randn(2, 400 + 95 * 160, generator=torch.Generator().manual_seed(asked.seed))
    waveforms = (0.1 * noise).clamp(-1, 1)
    features = Frontend(own.geometry, AUDIOSET)(waveforms).to(own.cls_token.dtype)
    with torch.inference_mode():
        for name, forward in (("candidate", candidate), ("unmerged", own), ("model_alone", candidate)):
            (given,) = inputs.inputs_of(asked, own, name, 2)
            assert torch.equal(given, features if name == "model_alone" else waveforms), name
            assert torch.equal(built[name](given), forward(features)), name
    assert not torch.equal(candidate(features), own(features))


@falls_back
def test_a_training_step_that_falls_back_says_so() -> None:
    asked = scoped("training_step")
    on = dataclasses.replace(asked, model=dataclasses.replace(asked.model, engine="triton"))
    with pytest.warns(EngineFallbackWarning, match="trains in plain torch"):
        answer = worker.answer(on, Context())
    assert answer.engine.path == "plain"
    assert "cpu" in answer.engine.why_plain
    assert answer.attention.backend_ran == "plain:flash_cpu"


def test_a_training_step_is_adamws(model) -> None:
    asked = scoped("training_step", reduction=None)
    fbank, labels = inputs.inputs_of(asked, model, "candidate", 2)
    assert labels.shape == (2, 527)
    assert set(labels.unique().tolist()) == {0.0, 1.0}
    step = arms.build_arms(asked, model, model)["candidate"]
    by_hand = copy.deepcopy(model).train()
    optimiser = torch.optim.AdamW(by_hand.parameters(), lr=1e-5, weight_decay=5e-7)
    for _ in range(2):
        optimiser.zero_grad()
        logits = by_hand(fbank).double()
        loss = -(labels * logits.sigmoid().log() + (1 - labels) * (1 - logits.sigmoid()).log()).mean()
        loss.backward()
        optimiser.step()
        torch.testing.assert_close(step(fbank, labels).double(), loss.detach(), rtol=1e-4, atol=1e-6)
    assert model.training is False
    assert all(parameter.grad is None for parameter in model.parameters()), "the arms' weights are the model's"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_autocast_over_float32_weights(model, dtype) -> None:
    seen = []
    own = copy.deepcopy(model)
    own.head.linear.register_forward_hook(lambda layer, given, out: seen.append((layer.weight.dtype, out.dtype)))
    asked = scoped("training_step", reduction=None, dtype=dtype)
    before = own.head.linear.weight.detach().clone()
    step = TrainingStep(own, dtype=dtype, device="cpu")
    loss = step(*inputs.inputs_of(asked, own, "candidate", 2))
    assert seen == [(torch.float32, getattr(torch, dtype))]
    assert loss.isfinite()
    assert not torch.equal(own.head.linear.weight, before)
    assert all(parameter.grad is None for parameter in own.parameters()), "gradients would add up"


def test_every_arm_trains_weights_of_its_own(model) -> None:
    before = copy.deepcopy(model.state_dict())
    asked = scoped("training_step")
    built = arms.build_arms(asked, model, model)
    given = inputs.inputs_of(asked, model, "candidate", 2)
    first = {name: step(*given) for name, step in built.items()}
    torch.testing.assert_close(first["timm"], first["unmerged"], rtol=1e-4, atol=1e-5)  # the same model
    assert first["candidate"] != first["unmerged"]
    for step in built.values():
        assert step(*given) < first["unmerged"] * 2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_scope_is_another_question_and_the_forwards_stays_what_it_was() -> None:
    plain = cell()
    assert "scope" not in canonical(plain.question)
    ids = {cell(measure=plain.measure.model_copy(update={"scope": scope})).id for scope in NAMES}
    assert plain.id in ids
    assert len(ids) == 3
    assert "performance waveform tome constant:8" in scoped("waveform").title


def test_records_from_before_scopes_are_those_of_a_forward() -> None:
    old = read_record(Path(__file__).parents[1] / "records" / "old_records" / "v1_performance.json")
    import hashlib

    assert hashlib.sha256(canonical(old.cell.question).encode()).hexdigest()[:12] == old.cell.id
    assert to_frame([old])["scope"].tolist() == ["forward"]


@pytest.mark.parametrize("scope", [pytest.param("waveform", marks=pytest.mark.slow), "training_step"])
def test_a_sweep_of_a_scope_runs_and_its_records_come_back(tmp_path, scope) -> None:
    path = tmp_path / "scoped.toml"
    path.write_text(SWEEP)
    scoped_as = ["-s", f"measure.scope={scope}"]
    results = tmp_path / "results"
    done = CliRunner().invoke(app, ["run", str(path), "--results", str(results), *scoped_as])
    assert done.exit_code == 0, done.output
    assert "1 ok" in done.output or "1 disturbed" in done.output  # this machine may do other things too
    records = read_records(results)
    assert {record.cell.question["measure"]["scope"] for record in records} == {scope}
    frame = to_frame(records)
    assert set(frame["scope"]) == {scope}
    assert np.isfinite(frame["speedup_unmerged"].astype(float)).all()
    again = CliRunner().invoke(app, ["run", str(path), "--results", str(results), *scoped_as])
    assert "1 skipped" in again.output
    listed = CliRunner().invoke(app, ["run", str(path), "--results", str(results), "--dry-run", *scoped_as]).output
    assert f"performance {scope} unmerged batch 1" in listed


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ('scope = "training"', "measure.scope: 'training' is not a scope; did you mean 'training_step'? allowed: forw"),
        (
            'baselines = ["unmerged", "model_alone"]',
            "measure.baselines: 'model_alone' shows what the front end adds to 'waveform'; allowed with scope 'forward'"
            ": unmerged, slice, tome_plain, timm, timm_compiled, hf",
        ),
        (
            'scope = "training_step"\nbaselines = ["unmerged", "hf"]',
            "measure.baselines: 'hf' is a baseline of inference; allowed with scope 'training_step': "
            "unmerged, slice, timm",
        ),
    ],
)
def test_what_a_scope_cannot_time_is_said_up_front(tmp_path, measure, message) -> None:
    path = tmp_path / "scoped.toml"
    path.write_text(SWEEP + measure)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    assert message in str(caught.value)


def test_a_training_step_has_no_quality(tmp_path) -> None:
    path = tmp_path / "scoped.toml"
    path.write_text(SWEEP.replace('["performance"]', '["performance", "quality"]'))
    load_sweep(path)
    with pytest.raises(ConfigError, match="kinds: a training step has no quality; write"):
        load_sweep(path, ["measure.scope=training_step"])


@pytest.mark.parametrize(
    ("name", "scope", "arm"),
    [("engine_gpu_waveform", "waveform", "model_alone"), ("engine_gpu_training", "training_step", "unmerged")],
)
def test_the_sweeps_of_the_bar_ask_for_it(name, scope, arm) -> None:
    config = load_sweep(find_sweep(name))
    cells = expand(config)
    assert [str(cell.reduction.schedule) if cell.reduction else "none" for cell in cells] == [
        *("none", "constant:40", "constant:80")
    ]
    for asked in cells:
        assert (asked.model.name, asked.model.engine, asked.dtype, asked.batch_size) == (
            *("ast_base", "triton", "bfloat16", 64),
        )
        assert asked.measure.scope == scope
        assert arm in asked.measure.baselines
