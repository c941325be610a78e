"""What a sweep may ask of an engine, said before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.sweep.complaints import ConfigError
from bench.sweep.expansion import expand
from bench.sweep.file import load_sweep


def cells(tmp_path: Path, *overrides: str, resolve=lambda device: "cpu"):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nkinds = ["performance"]\n[grid]\nr = [0, 40]\ndevice = ["cpu"]\n')
    return expand(load_sweep(path, overrides), resolve=resolve)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_int8_is_a_dtype_of_runtimes_calibrated_on_training_clips(engine: str, tmp_path: Path) -> None:
    found = cells(tmp_path, f"grid.engine=['{engine}']", "grid.dtype=['float32','int8']")
    assert len({cell.id for cell in found}) == len(found) == 4
    for cell in found:
        assert ("calibration" in cell.question) == (cell.dtype == "int8")
        if cell.dtype == "int8":
            asked = cell.question["calibration"]
            assert (asked["dataset"], asked["split"], asked["clips"]) == ("soundscapes", "train", 64)
    assert {cell.question["model"]["engine"] for cell in found} == {engine}


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (("model.engine=openvino",), "model.engine: is an axis: write engine = ['openvino'] under [grid]"),
        (("grid.engine=['openvivo']",), "did you mean 'openvino'? allowed: plain, triton, onnxruntime, openvino"),
        (("grid.dtype=['int8']",), "grid.dtype.0: 'int8': the engine 'plain' cannot compute in it"),
        (("grid.engine=['triton']", "grid.dtype=['int8']"), "allowed: float32, bfloat16, float16"),
        (("grid.engine=['openvino']", "grid.dtype=['bfloat16']"), "grid.dtype.0: 'bfloat16': the engine 'openvino'"),
        (("grid.engine=['onnxruntime']", "grid.attention=['math']"), "'math': the engine 'onnxruntime' has its own"),
        (
            ("grid.engine=['openvino']", "measure.scope=training_step"),
            "measure.scope: 'training_step' cannot be timed on the engine 'openvino'; allowed: forward, waveform",
        ),
    ],
)
def test_what_an_engine_cannot_do_is_said_with_what_it_can(overrides, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        cells(tmp_path, *overrides)
    assert complaint in str(error.value)


def test_a_runtime_of_the_cpu_refuses_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'openvino' runs only on a CPU, and this is cuda; write device"):
        cells(tmp_path, "grid.engine=['openvino']", "grid.device=['auto']", resolve=lambda device: "cuda")


def test_one_sweep_compares_engines_and_leaves_out_what_one_cannot_do(tmp_path: Path) -> None:
    asked = ("grid.engine=['plain','openvino']", "grid.dtype=['float32','int8']")
    with pytest.raises(ConfigError, match=r"leave it out: \[\[exclude\]\] engine = 'plain', dtype = 'int8'"):
        cells(tmp_path, *asked)
    baselines = "measure.baselines=['unmerged','slice','plain']"
    found = cells(tmp_path, *asked, baselines, "exclude=[{engine='plain',dtype='int8'}]")
    there = [(cell.model.engine, cell.dtype, cell.reduction is None) for cell in found]
    assert len(there) == len(set(there)) == 6
    for cell in found:  # over itself, nothing is measured twice
        arms = set(cell.question["measure"]["baselines"])
        assert ("plain" in arms) == (cell.model.engine == "openvino")
        assert ("slice" in arms) == (cell.reduction is not None)
    same = {cell.id for cell in cells(tmp_path)}
    assert {cell.id for cell in found if cell.model.engine == "plain"} == same


def test_cells_that_were_asked_before_there_were_other_runtimes_keep_their_question(tmp_path: Path) -> None:
    for cell in cells(tmp_path):
        assert set(cell.question) == {"kind", "model", "reduction", "attention", "dtype", "workload", "measure"}
        assert "engine" not in cell.question["model"]
