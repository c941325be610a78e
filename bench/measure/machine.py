"""Description of this machine: everything that can affect a measurement, and nothing that identifies its owner."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fastast.system.allocator import MemoryPolicy
from fastast.system.processors import most_threads, processor_generation, processor_name, usable_threads


class Facts(BaseModel):
    """Base of all parts of a record: typed, closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class Cpu(Facts):
    """The processor."""

    model: str
    """Name that the processor reports."""
    generation: str | None
    """Family, model and stepping: virtual machines report the same name for several generations of processors."""
    physical_cores: int | None
    logical_cores: int | None
    governor: str | None
    """Frequency governor of the first core, if it can be read."""


class Gpu(Facts):
    """The GPU that a cell ran on; None means "could not be read"."""

    name: str
    """Full name, which includes the form factor and a MIG slice."""
    memory_bytes: int
    driver: str | None
    power_limit_w: float | None
    max_graphics_clock_mhz: int | None
    mig: bool | None


class Machine(Facts):
    """A machine and the device used on it."""

    key: str
    """Name of its folder in `results/`."""
    device: str
    """`cpu` or `cuda`."""
    device_name: str
    cpu: Cpu
    gpu: Gpu | None
    threads: int
    """Threads that PyTorch used."""
    memory_bytes: int


class Software(Facts):
    """Versions of software, and PyTorch's settings."""

    python: str
    os: str
    kernel: str
    torch: str
    torchvision: str | None
    timm: str | None
    numpy: str | None
    scipy: str | None
    scikit_learn: str | None
    cuda: str | None
    cudnn: int | None
    blas: str
    """Library that PyTorch was built with, `mkl` or `other`."""
    onednn: bool
    cpu_capability: str
    """Instruction set that PyTorch uses, such as AVX512."""
    float32_matmul_precision: str
    tf32_cudnn: bool
    cudnn_benchmark: bool
    deterministic: bool


class Surroundings(Facts):
    """Process-wide settings that affect every operation on a CPU; see `fastast.system.runtime.Runtime`."""

    threads: int
    affinity: int
    quota: float | None
    openmp: str | None
    waiting: dict[str, str]
    allocator: str
    memory: MemoryPolicy
    memory_settings: str
    flush_denormals: bool
    huge_pages: str | None


def describe_surroundings() -> Surroundings:
    """Return the settings of this process."""
    from fastast.system.runtime import describe_runtime

    return Surroundings(**dataclasses.asdict(describe_runtime()))


def slug(text: str) -> str:
    """Return `text` as a folder name: lower case, with hyphens between words."""
    cleaned = re.sub(r"\((?:r|tm|c)\)|@.*|\b(?:cpu|processor|\d+-core)\b", " ", text.lower())
    return re.sub(r"[^a-z0-9]+", "-", cleaned).strip("-") or "unknown"


def machine_key(device: str, device_name: str, instructions: str, threads: int) -> str:
    """Return the folder name of a device, such as `cpu-amd-epyc-avx512-2-threads` or `nvidia-h100-80gb-hbm3`.

    That of a CPU includes the instruction set, as virtual machines report the same name for several generations.
    """
    if device != "cpu":
        return slug(device_name)
    return f"cpu-{slug(device_name)}-{slug(instructions)}-{threads}-threads"


def resolve_device(device: str) -> str:
    """Return `cpu` or `cuda`; `auto` prefers CUDA. Raises ValueError for `cuda` if PyTorch finds no CUDA device."""
    if device == "cpu":
        return device
    import torch

    present = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if present else "cpu"
    if device == "cuda" and not present:
        raise ValueError("'cuda' is not here: PyTorch finds no CUDA device; allowed on this machine: auto, cpu")
    return device


def load_average() -> float | None:
    """Return the one-minute load average; None if the system has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def describe_machine(device: str) -> Machine:
    """Describe this machine for `cpu` or `cuda`, with the settings of this process."""
    import psutil
    import torch

    gpu = _gpu() if device == "cuda" else None
    cpu = Cpu(
        model=processor_name(),
        generation=processor_generation(),
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=psutil.cpu_count(),
        governor=_read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
    )
    threads = torch.get_num_threads()
    name = gpu.name if gpu else cpu.model
    return Machine(
        key=machine_key(device, name, torch.backends.cpu.get_cpu_capability(), threads),
        device=device,
        device_name=name,
        cpu=cpu,
        gpu=gpu,
        threads=threads,
        memory_bytes=psutil.virtual_memory().total,
    )


def describe_software() -> Software:
    """Return the versions and settings of this process."""
    import torch

    return Software(
        python=platform.python_version(),
        os=platform.system(),
        kernel=platform.release(),
        torch=torch.__version__,
        torchvision=_version("torchvision"),
        timm=_version("timm"),
        numpy=_version("numpy"),
        scipy=_version("scipy"),
        scikit_learn=_version("scikit-learn"),
        cuda=torch.version.cuda if torch.cuda.is_available() else None,
        cudnn=torch.backends.cudnn.version() if torch.cuda.is_available() else None,
        blas="mkl" if torch.backends.mkl.is_available() else "other",
        onednn=torch.backends.mkldnn.is_available(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        float32_matmul_precision=torch.get_float32_matmul_precision(),
        tf32_cudnn=torch.backends.cudnn.allow_tf32,
        cudnn_benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )


def describe_processors() -> tuple[object, ...]:
    """Return everything about the processors that PyTorch bases decisions on, read without PyTorch."""
    text = _read(Path("/proc/cpuinfo")) or platform.processor()
    lines = (line for line in text.splitlines() if not re.match(r"cpu MHz|bogomips", line))
    return platform.platform(), most_threads(), usable_threads(), tuple(dict.fromkeys(lines))


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> Gpu:
    """Describe the current CUDA device: name and memory from PyTorch, the rest from NVML, if it answers."""
    import torch

    from bench.measure import nvml

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    unknown = dict.fromkeys(("driver", "power_limit_w", "max_graphics_clock_mhz", "mig"))
    with nvml.current_device() as device:
        known = device.fixed() if device else unknown
    return Gpu(name=properties.name, memory_bytes=properties.total_memory, **known)
