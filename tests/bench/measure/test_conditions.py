"""Conditions: counters as Linux and NVML show them, and None for what they do not."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from bench.measure import conditions, nvml
from bench.measure.machine import describe_machine


def test_quotas_are_read_from_both_versions_of_control_groups(tmp_path):
    second, first = tmp_path / "v2", tmp_path / "v1"
    second.write_text("usage_usec 5\nnr_throttled 3\nthrottled_usec 2500000\n")
    first.write_text("nr_periods 9\nnr_throttled 3\nthrottled_time 1500000000\n")
    missing = tmp_path / "none"
    assert conditions._quota_seconds([missing, second]) == 2.5
    assert conditions._quota_seconds([first]) == 1.5
    assert conditions._quota_seconds([missing]) is None


def test_a_file_in_another_form_is_no_quota(tmp_path):
    strange = tmp_path / "cpu.stat"
    strange.write_text("not a table of two columns\n")
    assert conditions._quota_seconds([strange]) is None


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
    watch()
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


def test_a_watch_notes_clock_and_reasons_after_every_round(card):
    watch = conditions.Watch("cuda")  # 1980, 0
    watch()  # 1980, power cap
    watch()  # 1755, thermal
    seen = watch.conditions()
    assert seen.before.gpu.graphics_clock_mhz == 1980
    assert seen.gpu_clocks_mhz == (1980, 1755)
    assert seen.gpu_throttle_reasons == 0x24
    assert nvml.name_reasons(seen.gpu_throttle_reasons) == "power cap, software thermal slowdown"
    assert seen.after.gpu.graphics_clock_mhz == 1500
    assert card.opened == card.closed == 4


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
    seen = conditions.Watch("cuda")
    seen()
    assert seen.conditions().gpu_clocks_mhz == ()
