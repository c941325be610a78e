"""Facts about the machine: they agree with other sources and name nobody."""

from __future__ import annotations

import getpass
import os
import platform
from pathlib import Path

import psutil
import pytest
import torch

from bench.measure.machine import (
    describe_machine,
    describe_software,
    machine_key,
    resolve_device,
    slug,
)
from fastast.system import processors


@pytest.mark.parametrize(
    ("device", "name", "key"),
    [
        ("cpu", "AMD EPYC", "cpu-amd-epyc-avx512-2-threads"),
        ("cpu", "Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", "cpu-intel-xeon-e5-2690-v4-avx512-2-threads"),
        ("cpu", "AMD EPYC 7763 64-Core Processor", "cpu-amd-epyc-7763-avx512-2-threads"),
        ("cuda", "NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"),
        ("cuda", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "nvidia-a100-sxm4-40gb-mig-1g-5gb"),
    ],
)
def test_the_key_names_the_device_and_on_a_cpu_its_instructions_and_threads(device, name, key):
    assert machine_key(device, name, "AVX512", 2) == key


def test_processors_of_one_name_and_other_instructions_are_two_machines(monkeypatch):
    keys = set()
    for instructions in ("AVX2", "AVX512"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda found=instructions: found)
        keys.add(describe_machine("cpu").key)
    assert len(keys) == 2


def test_a_name_without_letters_is_still_a_folder():
    assert slug("@@@") == "unknown"


def test_the_facts_of_this_machine_agree_with_other_sources():
    machine = describe_machine("cpu")
    assert machine.memory_bytes == psutil.virtual_memory().total
    assert machine.cpu.logical_cores == os.cpu_count()
    assert machine.threads == torch.get_num_threads()
    assert machine.gpu is None
    if Path("/proc/cpuinfo").exists() and "model name" in Path("/proc/cpuinfo").read_text():
        assert machine.cpu.model in Path("/proc/cpuinfo").read_text()
    assert machine.key.endswith(f"{torch.get_num_threads()}-threads")


def test_versions_are_those_of_the_modules():
    import numpy
    import scipy
    import sklearn
    import timm

    software = describe_software()
    assert software.torch == torch.__version__
    assert software.timm == timm.__version__
    assert (software.numpy, software.scipy) == (numpy.__version__, scipy.__version__)
    assert software.scikit_learn == sklearn.__version__
    assert software.python == platform.python_version()


def test_switches_are_read_as_they_stand():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert describe_software().float32_matmul_precision == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_nothing_names_host_user_or_folders():
    text = describe_machine("cpu").model_dump_json() + describe_software().model_dump_json()
    for private in (platform.node(), str(Path.home()), f'"{getpass.getuser()}"'):
        assert private not in text


def test_devices_are_resolved_or_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(ValueError, match="'cuda' is not here.*allowed on this machine: auto, cpu"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cpu") == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_is_described():
    machine = describe_machine("cuda")
    assert machine.gpu is not None
    assert machine.gpu.name == torch.cuda.get_device_name()
    assert machine.gpu.memory_bytes > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n", "25.17.1"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", None),  # ARM
        ("", None),
    ],
)
def test_generations_of_one_name_are_told_apart(
    text: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processors, "PROCESSORS", tmp_path / "cpuinfo")
    assert processors.processor_generation() == expected
