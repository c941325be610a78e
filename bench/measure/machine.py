"""What this machine is: everything of it that can change a measurement, and nothing that names its owner."""

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
    """Base of all parts of a record: typed, closed, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class Cpu(Facts):
    """The processor."""

    model: str
    """Name as the processor gives it."""
    generation: str | None
    """Numbers of its family, model and stepping: virtual machines give processors of several generations one name."""
    physical_cores: int | None
    logical_cores: int | None
    governor: str | None
    """Frequency governor of the first core, where it can be read."""


class Gpu(Facts):
    """The graphics processor that a cell ran on; None is "could not be read"."""

    name: str
    """Full name, which tells the form factor and a MIG slice."""
    memory_bytes: int
    driver: str | None
    power_limit_w: float | None
    max_graphics_clock_mhz: int | None
    mig: bool | None


class Machine(Facts):
    """One machine, one device."""

    key: str
    """Name of its folder of results."""
    device: str
    """`cpu` or `cuda`."""
    device_name: str
    cpu: Cpu
    gpu: Gpu | None
    threads: int
    """Threads that PyTorch used."""
    memory_bytes: int


class Software(Facts):
    """Versions and switches."""

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
    """`mkl` or `other`, as PyTorch was built."""
    onednn: bool
    cpu_capability: str
    """Instruction set that PyTorch chose, such as AVX512."""
    float32_matmul_precision: str
    tf32_cudnn: bool
    cudnn_benchmark: bool
    deterministic: bool


class Surroundings(Facts):
    """What surrounds every operation on a CPU, as `fastast.system.runtime.Runtime` has it."""

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
    """Return what this process has set up."""
    from fastast.system.runtime import describe_runtime

    return Surroundings(**dataclasses.asdict(describe_runtime()))


def slug(text: str) -> str:
    """Return `text` as a folder name: lower case, words joined by hyphens."""
    cleaned = re.sub(r"\((?:r|tm|c)\)|@.*|\b(?:cpu|processor|\d+-core)\b", " ", text.lower())
    return re.sub(r"[^a-z0-9]+", "-", cleaned).strip("-") or "unknown"


def machine_key(device: str, device_name: str, instructions: str, threads: int) -> str:
    """Return the folder name of a device: `cpu-amd-epyc-avx512-2-threads`, `nvidia-h100-80gb-hbm3`.

    Of a CPU the instruction set belongs to it: virtual machines give processors of several generations one name.
    """
    if device != "cpu":
        return slug(device_name)
    return f"cpu-{slug(device_name)}-{slug(instructions)}-{threads}-threads"


def resolve_device(device: str) -> str:
    """Return what `device` means here; `auto` is CUDA where there is one. Raises ValueError where it is not here."""
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
    """Return the load of the last minute, None where the system has no such thing."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def describe_machine(device: str) -> Machine:
    """Return the facts of this machine for `cpu` or `cuda`, as this process has set them up."""
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
    """Return versions and switches of this process."""
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
    """Return what PyTorch finds of the processors, as the system tells it: no PyTorch is needed for it."""
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
    """Return the current CUDA device: from PyTorch what every installation knows, from NVML what is there."""
    import torch

    from bench.measure import nvml

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    unknown = dict.fromkeys(("driver", "power_limit_w", "max_graphics_clock_mhz", "mig"))
    with nvml.current_device() as device:
        known = device.fixed() if device else unknown
    return Gpu(name=properties.name, memory_bytes=properties.total_memory, **known)
