"""Where kernels run in tests: under Triton's interpreter on the CPU, or on a CUDA device where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.fastast.kernels.ahead_of_time import Compiled, compile_cases
from tests.fastast.kernels.interpreter import interpret


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device that runs kernels: the CPU in the interpreter, and a CUDA device; the one that cannot is skipped."""
    pytest.importorskip("triton", reason="Triton is not installed")
    asked = os.environ.get("TRITON_INTERPRET") == "1"
    if request.param == "cuda":
        if asked:
            pytest.skip("TRITON_INTERPRET=1 is set: kernels run in Python, not on the CUDA device")
    elif torch.cuda.is_available() and not asked:
        pytest.skip("kernels run on the CUDA device here; set TRITON_INTERPRET=1 to run them in the interpreter")
    else:
        interpret(monkeypatch)
    return torch.device(request.param)


@pytest.fixture(scope="session")
def compiled() -> Callable[[str], list[Compiled]]:
    """What the launches of a test file's CASES become when they are compiled for GPUs: `compiled(__file__)`."""
    done: dict[str, list[Compiled]] = {}

    def compile_file(file: str) -> list[Compiled]:
        pytest.importorskip("triton", reason="Triton is not installed")
        if file not in done:
            done[file] = compile_cases(Path(file))
        return done[file]

    return compile_file
