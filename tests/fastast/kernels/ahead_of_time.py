"""Kernels compiled for GPUs that are not here: Triton and ptxas need no device for that, only to run.

A test file names launches in `CASES`, a dictionary of functions without arguments that call kernels on tensors of
`torch.device("meta")`, which have a shape and no contents. `compile_cases(Path(__file__))` runs them in a process
without the interpreter, takes down every launch instead of doing it, and compiles each for every GPU of `CAPABILITIES`:

    CASES = {"key_metric bfloat16": lambda: key_metric(torch.empty(64, 1214, 2304, dtype=..., device="meta"), 12)}

    def test_kernels_fit_into_gpus(compiled):
        for kernel in compiled(__file__):
            assert kernel.shared_bytes <= SHARED_BYTES[kernel.capability]
            assert kernel.spill_bytes == 0

A case named in the file's optional set `NEWEST_ONLY` is compiled for the last of the GPUs alone, to save
time; instructions are counted for those in its optional set `COUNTED`, and for all with the word `count`:

    python -m tests.fastast.kernels.ahead_of_time tests/fastast/kernels/test_compiles_for_gpus.py count

A kernel that reads a tensor's contents on the host fails here, as it would in a captured graph.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

CAPABILITIES = (80, 90)
"""A100, and H100 or H200. Consumer GPUs (86, 89) get the code of the A100."""

SHARED_BYTES = {80: 99 * 1024, 90: 227 * 1024}
"""Shared memory that a program may take. An A100 has 163 KiB; the consumer GPUs of its generation have 99."""

ROOT = Path(__file__).parents[3]
_TYPES = {
    torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32", torch.float64: "fp64", torch.bool: "i1",
    torch.int8: "i8", torch.uint8: "u8", torch.int16: "i16", torch.int32: "i32", torch.int64: "i64",
}  # fmt: skip
_OPTIONS = ("num_warps", "num_stages", "num_ctas", "maxnreg")


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One launch, compiled for one GPU."""

    case: str
    """Key of CASES that launched it."""
    kernel: str
    """Name of the device function."""
    capability: int
    """Compute capability times ten."""
    programs: int
    """How many programs the launch has."""
    options: dict[str, Any]
    """Constants and options of the launch, for messages."""
    shared_bytes: int
    """Shared memory of a program."""
    registers: int | None
    """Registers of a thread; None where Triton comes without cuobjdump."""
    spill_bytes: int | None
    """Local memory of a thread, which is what does not fit into registers; None as above."""
    matrix_instructions: int
    """Instructions for the matrix units: mma.sync, or wgmma from the H100 on."""
    wgmma: bool
    """Whether these are those of the H100, which alone reach its peak."""
    instructions: int | None
    """Machine instructions of the kernel; None where they were not counted, or Triton comes without nvdisasm."""
    loop_instructions: int | None
    """Those of its longest loop, which is the one over tiles; 0 without a loop."""


def compile_cases(path: Path) -> list[Compiled]:
    """Compile what the CASES of the test file `path` launch. Raises AssertionError with what the compiler said."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.fastast.kernels.ahead_of_time", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]
    return [Compiled(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]


@dataclass(frozen=True)
class _Launch:
    case: str
    kernel: Any
    arguments: dict[str, Any]
    options: dict[str, int]
    programs: int


@contextmanager
def _recorded(launches: list[_Launch]) -> Iterator[list[str]]:
    """Take launches down, on any device; yields a list whose last item is the name of the case that runs."""
    from triton.runtime.jit import JITFunction

    from fastast.kernels import launch

    case = [""]

    def record(self: Any, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> None:
        arguments = dict(zip(self.arg_names, args, strict=False))
        arguments |= {key: value for key, value in kwargs.items() if key in self.arg_names}
        for parameter in self.params:
            if parameter.name not in arguments and parameter.has_default:
                arguments[parameter.name] = parameter.default
        options = {key: kwargs[key] for key in _OPTIONS if key in kwargs}
        size = grid(arguments) if callable(grid) else grid
        programs = 1
        for side in size:
            programs *= side
        launches.append(_Launch(case[-1], self, arguments, options, programs))

    run, why_not = JITFunction.run, launch.why_not
    JITFunction.run, launch.why_not = record, lambda device: ""
    try:
        yield case
    finally:
        JITFunction.run, launch.why_not = run, why_not


def _compile(launch: _Launch, capability: int, count: bool) -> Compiled:
    """Compile a launch as Triton would when it happens, with the same specialisation by alignment."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    for i, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        aligned = False
        is_one = isinstance(value, int) and value == 1 and not parameter.do_not_specialize
        if parameter.is_constexpr or value is None or is_one:
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = "*" + _TYPES[value.dtype]
            aligned = value.data_ptr() % 16 == 0
        elif isinstance(value, int):
            signature[parameter.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            aligned = value % 16 == 0
        else:
            signature[parameter.name] = "fp32"
        if aligned and not parameter.do_not_specialize:
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constants, attributes)
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=launch.options)
    registers, spill = _resources(kernel.asm["cubin"])
    instructions, loop = _instructions(kernel.asm["cubin"]) if count else (None, None)
    shown = {key: value for key, value in constants.items() if isinstance(value, (int, float, bool))}
    ptx = kernel.asm["ptx"]
    return Compiled(
        case=launch.case,
        kernel=launch.kernel.__name__,
        capability=capability,
        programs=launch.programs,
        options=shown | launch.options,
        shared_bytes=kernel.metadata.shared,
        registers=registers,
        spill_bytes=spill,
        matrix_instructions=len(re.findall(r"wgmma\.mma_async|mma\.sync", ptx)),
        wgmma="wgmma.mma_async" in ptx,
        instructions=instructions,
        loop_instructions=loop,
    )


def _resources(cubin: bytes) -> tuple[int | None, int | None]:
    """Registers and spilled bytes of a thread."""
    text = _read_binary(cubin, "cuobjdump", "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+) .*?LOCAL:(\d+)", text or "")
    return (int(found[1]), int(found[2]) + int(found[3])) if found else (None, None)


def _instructions(cubin: bytes) -> tuple[int | None, int | None]:
    """Instructions of a kernel, and of its longest loop: from a label to the branch back to it."""
    text = _read_binary(cubin, "nvdisasm", "-c")
    if text is None:
        return None, None
    count, longest, labels = 0, 0, {}
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            labels[label[1]] = count
        elif instruction := re.match(r"\s*/\*[0-9a-f]+\*/\s+(.*?);", line):
            count += 1
            branch = re.search(r"\bBRA\b.*`\((\.L_\w+)\)", instruction[1])
            if branch and branch[1] in labels:
                longest = max(longest, count - labels[branch[1]])
    return count, longest


def _read_binary(cubin: bytes, tool: str, option: str) -> str | None:
    """What a tool that comes with Triton says of machine code; None where it does not come."""
    import triton

    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / tool
    if not program.exists():
        return None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([str(program), option, file.name], capture_output=True, text=True, check=True).stdout


def _main(path: str, count: bool) -> None:
    spec = importlib.util.spec_from_file_location("cases", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    launches: list[_Launch] = []
    with _recorded(launches) as case:
        for name, run in module.CASES.items():
            case.append(name)
            run()
    short = getattr(module, "NEWEST_ONLY", ())
    counted = getattr(module, "COUNTED", ())
    jobs = []
    for one in launches:
        for capability in CAPABILITIES[-1:] if one.case in short else CAPABILITIES:
            jobs.append((one, capability, count or (capability == CAPABILITIES[-1] and one.case in counted)))
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:  # launches are inherited, not pickled
        _JOBS.extend(jobs)
        for line in pool.map(_compile_job, range(len(jobs))):
            print(line, flush=True)


_JOBS: list[tuple[_Launch, int, bool]] = []


def _compile_job(index: int) -> str:
    launch, capability, count = _JOBS[index]
    try:
        return json.dumps(asdict(_compile(launch, capability, count)))
    except Exception as error:
        raise RuntimeError(f"{launch.case}: {launch.kernel.__name__} for sm_{capability}: {error}") from error


if __name__ == "__main__":
    _main(sys.argv[1], "count" in sys.argv[2:])
