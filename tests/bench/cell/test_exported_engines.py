"""Cells on other runtimes: merged, unmerged and the oracle run there, in float32 and int8, and say so."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bench.cell import worker
from bench.cell.answers import Context
from bench.cell.arms import build_arms
from bench.cell.engines.exported import ExportedArm
from bench.sweep.cells import Cell, ModelRef
from bench.sweep.config import DataConfig, MeasureConfig
from bench.sweep.data import resolve_data
from bench.sweep.engines import ENGINES, find_engine
from fastast import AudioSpectrogramTransformer, Frontend, Geometry, save_checkpoint
from fastast.frontend import AUDIOSET
from fastast.hosts import reduce
from fastast.reduction import TokenReduction
from fastast.schedule import Constant

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

MEASURE = MeasureConfig(
    baselines=("unmerged", "slice"),
    threads=1,
    rounds=3,
    min_seconds=0.0,
    max_seconds=0.2,
    warmup_seconds=0.0,
    noise_limit=100.0,
    bound_tolerance=1000.0,
)
EXAMPLE = Path(__file__).parents[3] / "fastast/assets/examples/bird_and_water.ogg"
REDUCTION = TokenReduction(schedule=Constant(6))
TOKENS = (20, 14)
"""By hand: 2 rows and 12 columns of patches, two prefix tokens: 26, of which each of two blocks removes six."""


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory):
    """One cache for the file: each graph is exported once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "FASTAST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def model() -> AudioSpectrogramTransformer:
    geometry = Geometry(embed_dim=32, depth=2, num_heads=2, num_classes=5, num_mel_bins=32, num_frames=130)
    torch.manual_seed(0)
    found = AudioSpectrogramTransformer(geometry).eval().requires_grad_(False)
    for parameter in found.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    found.normalisation = AUDIOSET
    return found


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("model") / "small.safetensors", model)


@pytest.fixture(params=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory):
    """Six training clips: windows of the example scene, as recordings of two classes."""
    scene, rate = soundfile.read(EXAMPLE, dtype="float32")
    root = tmp_path_factory.mktemp("data")
    for index in range(6):
        folder = root / "train" / ("bird", "water")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{index}.wav", scene[index * rate // 2 :][: 2 * rate], rate)
    return resolve_data(DataConfig(dataset="audio_folder", split="train", clips=4, root=str(root)))


@pytest.fixture
def asked(checkpoint: Path, engine: str):
    def cell(**changes: object) -> Cell:
        usual = Cell(
            kind="performance",
            model=ModelRef(name="small", path=checkpoint, sha256="0" * 64, frames=None, engine=engine),
            reduction=REDUCTION,
            attention="auto",
            dtype="float32",
            device="cpu",
            seed=0,
            measure=MEASURE,
            batch_size=2,
        )
        return dataclasses.replace(usual, **changes)

    return cell


def test_candidate_unmerged_and_oracle_run_on_the_runtime_with_the_threads_of_the_cell(asked, engine) -> None:
    answer = worker.answer(asked(), Context())
    assert set(answer.performance.arms) == {"candidate", "unmerged", "slice"}
    assert answer.model.tokens_measured == answer.model.tokens_planned == TOKENS
    assert answer.engine.path == engine
    assert answer.engine.kernels["runtime"].startswith(f"{engine} ")
    assert "float32" in answer.engine.kernels["products"]
    assert answer.attention.backend_ran.startswith(f"{engine}:")
    assert {gate.name: gate.passed for gate in answer.gates}["identity"]
    assert all(gate.passed for gate in answer.gates), [gate.message for gate in answer.gates if not gate.passed]


def test_every_arm_says_what_its_model_says_in_pytorch(asked, model) -> None:
    torch.set_num_threads(1)
    arms = build_arms(asked(), model, model)
    fbank = torch.randn(2, 130, 32, generator=torch.Generator().manual_seed(3))
    assert all(isinstance(arm, ExportedArm) for arm in arms.values())
    assert {arm.exported.session.threads for arm in arms.values()} == {1}
    removes_last = TokenReduction(schedule=Constant(6), method="slice", proportional=False)
    for name, reduction in {"candidate": REDUCTION, "unmerged": None, "slice": removes_last}.items():
        if reduction is None:
            expected = model(fbank)
        else:
            with reduce(model, reduction):
                expected = model(fbank)
        torch.testing.assert_close(arms[name](fbank), expected, rtol=1e-4, atol=1e-5)


def test_waveforms_go_through_the_front_end_first(asked, model) -> None:
    measure = MEASURE.model_copy(update={"scope": "waveform", "baselines": ("unmerged", "model_alone")})
    arms = build_arms(asked(measure=measure), model, model)
    waveforms = 0.1 * torch.randn(2, 129 * 160 + 400, generator=torch.Generator().manual_seed(0))
    fbank = Frontend(model.geometry, AUDIOSET)(waveforms)
    torch.testing.assert_close(arms["candidate"](waveforms), arms["model_alone"](fbank), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_int8_runs_in_8_bits_and_is_near(asked, model, calibration) -> None:
    int8 = asked(dtype="int8", calibration=calibration)
    answer = worker.answer(int8, Context())
    gates = {gate.name: gate for gate in answer.gates}
    assert gates["int8"].passed
    assert "8 of 8" in gates["int8"].message
    assert 0 < gates["identity"].value < gates["identity"].limit
    assert answer.model.tokens_measured == TOKENS
    assert all(gate.passed for gate in answer.gates), [gate.message for gate in answer.gates if not gate.passed]
    assert int8.id != asked().id
    other = dataclasses.replace(calibration, clips=3)
    assert asked(dtype="int8", calibration=other).id != int8.id  # what it is calibrated on is part of the question


@pytest.mark.slow
def test_a_runtime_that_computes_int8_in_float32_does_not_pass(asked, calibration, monkeypatch) -> None:
    from fastast.exporting.runtimes import GraphFacts

    facts = GraphFacts(runtime="a 1.0", products={"float32": 17}, attention="math")
    for session in ("onnxruntime_session.OnnxRuntimeSession", "openvino_session.OpenVinoSession"):
        monkeypatch.setattr(f"fastast.exporting.{session}.facts", lambda self: facts)
    answer = worker.answer(asked(dtype="int8", calibration=calibration), Context())
    assert not next(gate for gate in answer.gates if gate.name == "int8").passed


def test_quality_is_that_of_the_engine_that_is_timed(asked, model) -> None:
    scorer = worker._predictor(asked(kind="quality", batch_size=None), model, model, Context())
    assert isinstance(scorer, ExportedArm)
    fbank = torch.randn(5, 130, 32, generator=torch.Generator().manual_seed(4))
    with reduce(model, REDUCTION):
        expected = model(fbank)
    parts = torch.cat([scorer(fbank[:3]), scorer(fbank[3:])])  # the last batch of a set is smaller
    np.testing.assert_allclose(parts.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_registry_has_one_file_per_engine() -> None:
    folder = Path(worker.__file__).parent / "engines"
    assert {f"{name}.py" for name in ENGINES} <= {path.name for path in folder.iterdir()}
    assert not find_engine("openvino").on_gpus
    with pytest.raises(ValueError, match="Did you mean 'openvino'"):
        find_engine("openvivo")
