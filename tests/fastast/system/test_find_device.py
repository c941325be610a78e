"""Devices by name, and what is said of one that is not here."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

import fastast
from fastast.system.devices import describe_device, find_device
from fastast.system.processors import processor_name

nothing_here = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, auto in ((0, "cpu"), (2, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda count=count: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert find_device("auto") == torch.device(auto)
        assert find_device("cpu") == torch.device("cpu")
    assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="device: 'cuda:2' is not here; there are: auto, cpu, cuda, cuda:0, cuda:1"):
        find_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_a_name_that_is_no_device_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"device: {name!r} is not a device; there are: auto, cpu"):
        find_device(name)


@nothing_here
def test_compiling_for_a_gpu_that_is_not_here_is_refused_before_anything_is_said_or_done() -> None:
    model = fastast.create_model("ast_tiny", depth=1, num_frames=96).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="compile: device: 'cuda' is not here, as PyTorch finds no"):
            fastast.compile(model, device="cuda")
    assert fastast.compile(model, device="auto").device == torch.device("cpu")


def test_times_on_a_cpu_are_named_by_processor_instructions_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastast.system.devices.processor_name", lambda: "Elbrus-8S")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert describe_device(torch.device("cpu")) == "Elbrus-8S (AVX2), 3 threads"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert describe_device(torch.device("cpu")) == "Elbrus-8S (AVX2), 1 thread"


def test_a_processor_is_named_even_where_linux_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tmp_path / "cpuinfo"
    monkeypatch.setattr("fastast.system.processors.PROCESSORS", said)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert processor_name() == "riscv64"
    said.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9B14\nmodel name\t: another\n")
    assert processor_name() == "AMD EPYC 9B14"
