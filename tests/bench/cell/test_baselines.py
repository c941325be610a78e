"""The unmerged baselines are the model itself; cells on the engine; the sweep that compares them all."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from shallow_model import CLASSES
from test_worker import cell, quality_cell

from bench.cell import baselines, worker
from bench.cell.answers import Context
from bench.cell.model_facts import attention_that_ran
from bench.sweep.baselines import BASELINES, SCOPES
from bench.sweep.cells import canonical
from bench.sweep.complaints import ConfigError
from bench.sweep.config import SweepConfig
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep
from fastast.engine import EngineFallbackWarning
from fastast.geometry import Geometry
from fastast.kernels import available
from fastast.model import AudioSpectrogramTransformer
from fastast.schedule import Constant

GEOMETRY = Geometry(
    embed_dim=32, depth=2, num_heads=2, num_classes=5, num_mel_bins=48, num_frames=96, norm_eps=1e-3, head_norm_eps=1e-2
)
without_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
needs_compiler = pytest.mark.skipif(
    sys.platform == "win32" or not shutil.which("c++"), reason="torch.compile needs a C++ compiler on a CPU"
)
falls_back = pytest.mark.skipif(available("cpu"), reason="TRITON_INTERPRET=1 is set: nothing falls back")


@pytest.fixture
def model() -> AudioSpectrogramTransformer:
    torch.manual_seed(0)
    model = AudioSpectrogramTransformer(GEOMETRY).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def fbank() -> torch.Tensor:
    return torch.randn(2, 96, 48, generator=torch.Generator().manual_seed(1))


def arm_of(name: str, model: AudioSpectrogramTransformer):
    return {
        "timm": baselines.TimmAST,
        "timm_compiled": lambda model: baselines.compiled(baselines.TimmAST(model)),
        "hf": baselines.hugging_face_ast,
    }[name](model)


@pytest.mark.parametrize(
    "name",
    [
        "timm",
        pytest.param("timm_compiled", marks=[pytest.mark.slow, needs_compiler]),
        pytest.param("hf", marks=[pytest.mark.oracle, without_transformers]),
    ],
)
def test_a_foreign_model_with_the_same_weights_gives_the_same_logits(model, fbank, name) -> None:
    with torch.inference_mode():
        arm = arm_of(name, model)
        torch.testing.assert_close(arm(fbank), model(fbank), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(arm(-fbank), model(fbank), atol=1e-2)


@pytest.mark.oracle
@without_transformers
def test_hugging_faces_model_runs_on_fused_attention(model, fbank) -> None:
    from bench.cell.model_facts import backend_that_ran

    arm = baselines.hugging_face_ast(model)
    with torch.inference_mode():
        assert backend_that_ran(lambda: arm(fbank), "cpu") == "flash_cpu"


def test_without_transformers_the_error_says_what_to_install(model, monkeypatch) -> None:
    monkeypatch.setattr("bench.cell.baselines.hugging_face.find_spec", lambda name: None)
    with pytest.raises(baselines.MissingTransformersError, match=r"pip install 'fastast\[hf\]'"):
        baselines.hugging_face_ast(model)


def test_timm_without_fused_attention_is_refused(model, monkeypatch) -> None:
    monkeypatch.setattr("timm.layers.attention.use_fused_attn", lambda *_: False)
    with pytest.raises(RuntimeError, match="TIMM_FUSED_ATTN"):
        baselines.TimmAST(model)


def on_engine(**changes: object):
    usual = cell()
    names = changes.pop("baselines", ("unmerged", "slice"))
    measure = usual.measure.model_copy(update={"baselines": names, "bound_tolerance": 99.0})
    return cell(model=dataclasses.replace(usual.model, engine="triton"), measure=measure, **changes)


@falls_back
@pytest.mark.filterwarnings("ignore::fastast.engine.EngineFallbackWarning")
def test_a_cell_whose_engine_falls_back_says_so() -> None:
    names = ("unmerged", "slice", "tome_plain", "timm", *(("hf",) if find_spec("transformers") else ()))
    answer = worker.answer(on_engine(baselines=names), Context())
    assert list(answer.performance.arms) == ["candidate", *names]
    assert answer.attention.backend_ran == "plain:flash_cpu"
    assert answer.attention.kernel == "mask"
    assert answer.engine.path == "plain"
    assert "cpu" in answer.engine.why_plain
    assert answer.model.tokens_measured == answer.model.tokens_planned
    assert all(gate.passed for gate in answer.gates if gate.name in ("tokens", "macs", "identity"))


def test_quality_is_that_of_the_engine(tmp_path, monkeypatch) -> None:
    asked, _, features = quality_cell(tmp_path)
    plain = worker.answer(asked, Context(features=features))
    monkeypatch.setattr(baselines.EngineArm, "__call__", lambda self, fbank: torch.zeros(len(fbank), CLASSES))
    on = dataclasses.replace(asked, model=dataclasses.replace(asked.model, engine="triton"))
    scored = worker.answer(on, Context(features=features))
    assert plain.engine is None
    assert scored.engine is not None
    assert (scored.predictions.values == 0).all(), "not the logits of the engine"


@falls_back
def test_the_fallback_warns() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastast.engine.compilation._SAID", set())
        with pytest.warns(EngineFallbackWarning):
            worker.answer(on_engine(reduction=None, baselines=("unmerged",)), Context())


def test_the_slice_oracle_of_a_capped_schedule_keeps_as_many_tokens(model) -> None:
    from bench.cell.arms import build_arms

    reduction = dataclasses.replace(cell().reduction, schedule=Constant(20), excess="cap")
    arms = build_arms(cell(reduction=reduction), model, model)
    planned = reduction.tokens_per_block(GEOMETRY)
    assert planned == (20, 11)  # by hand: 38 tokens lose (38 - 2) / 2 = 18, then (20 - 2) / 2 = 9
    assert arms["slice"].attached.reduction.tokens_per_block(GEOMETRY) == planned


def test_later_keys_are_no_part_of_older_questions() -> None:
    assert "engine" not in canonical(cell().question)
    assert "excess" not in canonical(cell().question)
    assert '"engine":"triton"' in canonical(on_engine().question)
    capped = cell(reduction=dataclasses.replace(cell().reduction, excess="cap"))
    assert len({cell().id, on_engine().id, capped.id}) == 3
    assert "triton" in on_engine().title
    assert "excess=cap" in capped.title


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"engine": ["tritn"]}}, "did you mean 'triton'"),
        ({"kinds": ["performance"], "grid": {"engine": ["triton"], "attention": ["mask"]}}, "has its own"),
    ],
)
def test_what_the_engine_cannot_do_is_said_up_front(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        expand(SweepConfig.model_validate({"name": "any", **changes}))


def test_the_engines_sweep_asks_for_every_baseline_and_batch() -> None:
    config = load_sweep(find_sweep("engine_gpu"))
    cells = expand(config)
    asked = {*config.measure.baselines, *config.measure.where_installed}
    assert asked == set(SCOPES["forward"]) - {"plain"}  # which timm's blocks are, too
    assert {cell.model.engine for cell in cells} == {"triton"}
    assert {cell.batch_size for cell in cells} == {1, 8, 64, 256}
    assert {cell.dtype for cell in cells} == {"bfloat16", "float16"}
    assert len(cells) == 4 * 2 * (1 + 2 * 5)  # batches, dtypes, unmerged and two schedules of five r


def test_an_excess_that_is_refused_is_still_refused() -> None:
    with pytest.raises(ConfigError, match="The largest r of tome constant here is 93"):
        expand(load_sweep(find_sweep("engine_gpu"), ['grid.excess=["refuse"]']))


@pytest.mark.parametrize(
    ("runs_on", "seen", "said"),
    [
        ("triton", "triton", "triton"),
        ("triton", "math", "triton_unseen"),
        ("triton", None, "triton_unseen"),
        ("fa4", "fa4 4.0.0b36", "fa4 4.0.0b36"),
        ("fa4", "math", "fa4_unseen"),
    ],
)
def test_an_engine_whose_kernels_the_profiler_missed_is_not_called_pytorchs(
    monkeypatch: pytest.MonkeyPatch, runs_on: str, seen: str | None, said: str
) -> None:
    monkeypatch.setattr("bench.cell.model_facts.backend_that_ran", lambda call, device: seen)
    monkeypatch.setattr("bench.cell.model_facts.interpreted", lambda: False)
    ran = SimpleNamespace(
        forward=lambda fbank: None, engine=SimpleNamespace(path="triton", kernels={"weighted_attention": runs_on})
    )
    assert attention_that_ran(ran, torch.zeros(1, 32, 128), "cuda") == said


def test_every_baseline_that_a_sweep_can_name_has_a_function_that_builds_it() -> None:
    # The order is part of the identity of every record: new ones go to the end.
    assert BASELINES.names()[:7] == ("unmerged", "slice", "tome_plain", "timm", "timm_compiled", "hf", "model_alone")
    for name in BASELINES:
        assert callable(BASELINES.get(name))
    with pytest.raises(ValueError, match="unknown baseline 'tim'. Did you mean 'timm'"):
        BASELINES.get("tim")
