"""Conditions: counters as Linux and NVML show them, and None for what they do not."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
import torch

from bench.measure import conditions, nvml
from bench.measure.load import Meter
from bench.measure.machine import describe_machine


def test_thermal_events_are_summed_over_cores(tmp_path):
    assert conditions._thermal_events(tmp_path) is None
    for core, count in (("cpu0", 2), ("cpu11", 3)):
        folder = tmp_path / core / "thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(f"{count}\n")
    (tmp_path / "cpufreq").mkdir()
    assert conditions._thermal_events(tmp_path) == 5


def test_a_moment_of_a_cpu_has_no_gpu():
    assert conditions.moment("cpu").gpu is None


def test_a_watch_tells_what_was_between():
    watch = conditions.Watch("cpu")
    seen = watch.conditions()
    assert seen.seconds > 0
    assert seen.before is not None
    assert seen.after is not None
    assert seen.gpu_clocks_mhz == ()
    assert seen.gpu_throttle_reasons is None


class FakeNvml:
    """NVML of a card whose clock falls, with some questions that it does not answer."""

    NVML_CLOCK_GRAPHICS, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU, NVML_DEVICE_MIG_ENABLE = 0, 2, 0, 1

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.asked_for: list[str] = []
        self.clocks = [1980, 1980, 1755, 1500, 1500, 1500]
        self.reasons = [0, 0x4, 0x20, 0, 0, 0]
        self.samples: list | None = None
        self.since: list[int] = []

    def nvmlInit(self) -> None:  # noqa: N802
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.closed += 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked_for.append(uuid)
        return "handle"

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802
        return b"580.1"

    def nvmlDeviceGetPowerManagementLimit(self, handle: str) -> int:  # noqa: N802
        return 700000

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:  # noqa: N802
        return self.clocks.pop(0) if kind == self.NVML_CLOCK_GRAPHICS else 2619

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:  # noqa: N802
        return self.reasons.pop(0)

    def nvmlDeviceGetProcessUtilization(self, handle: str, since: int) -> list:  # noqa: N802
        self.since.append(since)
        if self.samples is None:
            raise RuntimeError("Not Found")
        return [SimpleNamespace(pid=pid, smUtil=used) for pid, used in self.samples]

    def nvmlDeviceGetMaxClockInfo(self, handle: str, kind: int) -> int:  # noqa: N802
        raise RuntimeError("Not Supported")

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        return 4500


@pytest.fixture
def card(monkeypatch):
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    properties = SimpleNamespace(uuid="12-34", name="NVIDIA H100 80GB HBM3", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    return fake


def test_what_a_driver_does_not_answer_is_none_and_the_rest_is_there(card):
    with nvml.current_device() as device:
        fixed = device.fixed()
    assert fixed == {"driver": "580.1", "power_limit_w": 700.0, "max_graphics_clock_mhz": None, "mig": None}
    assert card.asked_for == ["GPU-12-34"]
    assert (card.opened, card.closed) == (1, 1)


def test_energy_is_in_joules(card):
    with nvml.current_device() as device:
        assert device.energy_j() == 4.5


def test_clock_and_reasons_are_noted_after_every_round(card):
    watch = conditions.Watch("cuda")  # 1980, 0
    with nvml.current_device() as device:
        meter = Meter(1, device)
        loads = []
        for _ in range(2):  # 1980, power cap; 1755, thermal
            meter.start()
            loads.append(meter.stop(1))
    watch.note(loads)
    seen = watch.conditions()
    assert seen.before.gpu.graphics_clock_mhz == 1980
    assert seen.gpu_clocks_mhz == (1980, 1755)
    assert seen.gpu_throttle_reasons == 0x24
    assert nvml.name_reasons(seen.gpu_throttle_reasons) == "power cap, software thermal slowdown"
    assert seen.after.gpu.graphics_clock_mhz == 1500
    assert card.opened == card.closed == 3


def test_what_other_processes_use_of_a_gpu_is_told_apart(card):
    own, other = os.getpid(), os.getpid() + 1
    with nvml.current_device() as device:
        card.samples = [(own, 90), (other, 10), (other, 20)]
        assert device.use_of_others() == pytest.approx(0.15)  # the mean of its samples
        card.samples = [(other, 10)]  # ids of the host: which of them is this process cannot be told
        assert device.use_of_others() is None
        card.samples = None
        assert device.use_of_others() is None
    assert card.since[0] <= card.since[1] <= card.since[2]


def test_a_machine_describes_its_card(card, monkeypatch):
    machine = describe_machine("cuda")
    assert machine.key == "nvidia-h100-80gb-hbm3"
    assert machine.gpu.memory_bytes == 80 * 2**30
    assert machine.gpu.driver == "580.1"


def test_without_nvml_nothing_is_known_and_nothing_fails(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with nvml.current_device() as device:
        assert device is None
    assert conditions.moment("cuda").gpu is None
    assert conditions.Watch("cuda").conditions().gpu_clocks_mhz == ()
