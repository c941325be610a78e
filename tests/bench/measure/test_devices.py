"""What a sweep's devices mean on one machine and on a cluster."""

from __future__ import annotations

import pytest
import torch

from bench.measure.devices import gpu_type, on_node, resolve_among, resolve_local


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-PCIE-40GB", "A100"),
        ("NVIDIA RTX A6000", "RTX-A6000"),
        ("NVIDIA GeForce RTX 4090", "GeForce-RTX-4090"),
        ("Tesla V100-SXM2-16GB", "V100"),
    ],
)
def test_a_gpu_type_is_read_from_the_full_name(name, expected):
    assert gpu_type(name) == expected


@pytest.mark.parametrize(
    ("device", "types", "cpu", "expected"),
    [
        ("auto", ["H100"], True, "H100"),
        ("cuda", ["H100", "H100"], True, "H100"),
        ("auto", [], True, "cpu"),
        ("cpu", ["H100"], True, "cpu"),
        ("A100", ["H100", "A100"], False, "A100"),
    ],
)
def test_a_device_of_a_cluster(device, types, cpu, expected):
    assert resolve_among(device, types, cpu=cpu, where="this cluster") == expected


@pytest.mark.parametrize(
    ("device", "types", "cpu", "message"),
    [
        ("H200", ["H100", "A100"], True, "'H200' is not in this cluster, which has GPUs: A100, H100; allowed: A100,"),
        ("auto", ["H100", "A100"], True, "'auto' could be any of A100, H100 in this cluster; name one, or several"),
        ("cuda", [], True, "'cuda' is not in this cluster, which has no GPU; allowed: cpu"),
        ("cpu", [], False, "'cpu' is not in this cluster, which has no GPU; allowed: nothing"),
    ],
)
def test_a_device_that_a_cluster_lacks_is_refused_with_those_it_has(device, types, cpu, message):
    with pytest.raises(ValueError, match=message):
        resolve_among(device, types, cpu=cpu, where="this cluster")


def test_a_gpu_type_means_cuda_where_it_is_and_is_refused_elsewhere(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "NVIDIA H100 80GB HBM3")
    assert resolve_local("H100") == "cuda"
    with pytest.raises(ValueError, match="'A100' is not here: the GPU is a NVIDIA H100 .*: auto, cpu, cuda, H100"):
        resolve_local("A100")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'H100' is not here: PyTorch finds no CUDA device"):
        resolve_local("H100")


def test_on_its_node_every_gpu_is_cuda():
    assert [on_node(device) for device in ("cpu", "H100", "cuda")] == ["cpu", "cuda", "cuda"]
