"""NVML: what the driver knows about a GPU. A question that it does not answer yields None, never an error."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

THROTTLE_REASONS = {
    0x0000000000000004: "power cap",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "software thermal slowdown",
    0x0000000000000040: "hardware thermal slowdown",
    0x0000000000000080: "power brake",
}
"""Bits of NVML's mask that mean throttling under load; others (idle, clocks set by the user) do not."""
SLOWDOWN = 0x0000000000000008 | 0x0000000000000020 | 0x0000000000000040 | 0x0000000000000080
"""Bits that mean an overheated or underpowered card; not the power cap, which large matrix products reach anyway."""


class Device:
    """One GPU, as NVML sees it."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._asked_at = int(time.time() * 1e6)  # microseconds, as NVML counts

    def fixed(self) -> dict[str, Any]:
        """Return what is constant while a cell runs: driver, power limit (W), maximum clock (MHz), MIG."""
        nvml, handle = self._nvml, self._handle
        return {
            "driver": _ask(lambda: _text(nvml.nvmlSystemGetDriverVersion())),
            "power_limit_w": _ask(lambda: nvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000),
            "max_graphics_clock_mhz": _ask(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_GRAPHICS)),
            "mig": _ask(lambda: nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE),
        }

    def now(self) -> dict[str, Any]:
        """Return clocks (MHz), temperature (°C), power (W), throttle reasons and the number of other processes."""
        nvml, handle = self._nvml, self._handle
        return {
            "graphics_clock_mhz": _ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_GRAPHICS)),
            "memory_clock_mhz": _ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            "temperature_c": _ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            "power_w": _ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            "throttle_reasons": self.throttle_reasons(),
            "other_processes": _ask(lambda: max(0, len(nvml.nvmlDeviceGetComputeRunningProcesses(handle)) - 1)),
        }

    def use_of_others(self) -> float | None:
        """Return the share of the multiprocessors' time used by other processes since the last call.

        None if the driver does not answer, or reports process ids of another namespace.
        """
        since, self._asked_at = self._asked_at, int(time.time() * 1e6)
        samples = _ask(lambda: self._nvml.nvmlDeviceGetProcessUtilization(self._handle, since))
        own = os.getpid()
        if samples is None or all(sample.pid != own for sample in samples):
            return None
        used: dict[int, list[int]] = {}
        for sample in samples:
            if sample.pid != own:
                used.setdefault(sample.pid, []).append(sample.smUtil)
        return sum(sum(values) / len(values) for values in used.values()) / 100

    def graphics_clock(self) -> int | None:
        """Return the clock of the multiprocessors, MHz."""
        return _ask(lambda: self._nvml.nvmlDeviceGetClockInfo(self._handle, self._nvml.NVML_CLOCK_GRAPHICS))

    def throttle_reasons(self) -> int | None:
        """Return NVML's bit mask of the reasons why the clock is below its maximum."""
        return _ask(lambda: self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle))

    def energy_j(self) -> float | None:
        """Return the energy in joules that the device has used since its driver was loaded."""
        return _ask(lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1000)


@contextmanager
def current_device() -> Iterator[Device | None]:
    """Yield the current CUDA device; None without CUDA, without pynvml, or if the driver does not answer."""
    nvml = None
    try:
        import pynvml
        import torch

        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        pynvml.nvmlInit()
        nvml = pynvml
        # By UUID, because CUDA_VISIBLE_DEVICES renumbers devices for CUDA but not for NVML.
        uuid = str(properties.uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
        device = Device(pynvml, handle)
    except Exception:
        device = None
    try:
        yield device
    finally:
        if nvml is not None:
            nvml.nvmlShutdown()


def name_reasons(mask: int) -> str:
    """Return the throttle reasons of a mask in words; empty if there are none."""
    return ", ".join(name for bit, name in THROTTLE_REASONS.items() if mask & bit)


def _ask(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except Exception:  # MIG slices, virtual GPUs and old drivers do not answer everything
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
