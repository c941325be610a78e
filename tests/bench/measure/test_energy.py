"""Energy: differences of the counters that there are, and the reason where there are none."""

from __future__ import annotations

import sys

import pytest
import torch
from test_conditions import FakeNvml, card  # noqa: F401

from bench.measure.energy import measure_energy


def zone(folder, name: str, microjoules: int, most: int = 1_000_000, *, called: str = "package"):
    path = folder / name
    path.mkdir()
    (path / "name").write_text(f"{called}-0\n")
    (path / "energy_uj").write_text(str(microjoules))
    (path / "max_energy_range_uj").write_text(str(most))
    return path / "energy_uj"


def test_packages_are_summed_cores_are_not_and_a_counter_may_start_again(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", 900_000)
    second = zone(tmp_path, "intel-rapl:1", 10_000)
    inside = zone(tmp_path, "intel-rapl:0:0", 5, called="core")
    whole = zone(tmp_path, "intel-rapl:2", 0, called="psys")  # the computer, its processors included

    def forward() -> None:
        first.write_text("200000")  # 300,000 further, past its end
        second.write_text("60000")
        inside.write_text("999")
        whole.write_text("900000")

    found = measure_energy({"candidate": forward}, "cpu", seconds=0.0, rapl=tmp_path)
    assert found.source == "RAPL"
    assert found.arms["candidate"].joules == pytest.approx(0.35)
    assert found.arms["candidate"].forwards == 1


def test_every_arm_has_its_own_energy(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", 0, most=10**9)
    calls = {}
    for name, microjoules in (("candidate", 1000), ("unmerged", 3000)):
        calls[name] = lambda step=microjoules: counter.write_text(str(int(counter.read_text()) + step))
    found = measure_energy(calls, "cpu", seconds=0.02, rapl=tmp_path)
    each = {name: arm.joules / arm.forwards for name, arm in found.arms.items()}
    assert each == pytest.approx({"candidate": 0.001, "unmerged": 0.003})
    assert all(arm.seconds >= 0.02 for arm in found.arms.values())


def test_a_processor_without_counters_says_so(tmp_path):
    calls = []
    found = measure_energy({"candidate": lambda: calls.append(1)}, "cpu", rapl=tmp_path)
    assert (found.source, found.arms) == ("unavailable", {})
    assert "no energy counters" in found.reason
    assert not calls  # nothing runs in vain


def test_counters_that_cannot_be_read_say_so(tmp_path):
    zone(tmp_path, "intel-rapl:0", 0)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()
    found = measure_energy({"candidate": lambda: None}, "cpu", rapl=tmp_path)
    assert "cannot be read" in found.reason


def test_a_processors_counter_that_vanishes_while_an_arm_runs_gives_no_energy(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", 0)
    found = measure_energy({"candidate": counter.unlink}, "cpu", seconds=0.0, rapl=tmp_path)
    assert (found.source, found.reason, found.arms) == ("unavailable", "RAPL stopped answering", {})


def test_nvml_counts_the_energy_of_a_gpu(card: FakeNvml, monkeypatch):  # noqa: F811
    millijoules = iter([1000, 1000, 4000])
    monkeypatch.setattr(card, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: next(millijoules), raising=False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    found = measure_energy({"candidate": lambda: None}, "cuda", seconds=0.0)
    assert found.source == "NVML"
    assert found.arms["candidate"].joules == 3.0


def test_without_nvml_the_reason_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = measure_energy({"candidate": lambda: None}, "cuda")
    assert "[gpu]" in found.reason


def test_a_counter_that_stops_answering_gives_no_energy(card: FakeNvml, monkeypatch):  # noqa: F811
    answers = iter([1.0, 1.0, None])
    monkeypatch.setattr("bench.measure.nvml.Device.energy_j", lambda self: next(answers))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    found = measure_energy({"candidate": lambda: None}, "cuda", seconds=0.0)
    assert (found.source, found.reason, found.arms) == ("unavailable", "NVML stopped answering", {})
