"""Triton's interpreter, switched on in a process that imported Triton without it.

Triton reads TRITON_INTERPRET where a function is decorated. The kernels of this package are decorated when they are
first launched, which is in a test; Triton's own library (`tl.sum`, `tl.cdiv`, ...) when Triton is imported, which timm
does long before. So that library is exchanged for the duration of a test, and nothing else in the process notices.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from packaging.version import Version

_interpreted: dict[int, Any] = {}
"""By the id of the compiled function: its hash is that of all it calls, and slow."""


def skip_without_interpreter() -> None:
    """Skip a test where Triton is not installed, or is one whose interpreter does not run with this NumPy.

    NumPy 2.4 no longer converts arrays of one element to integers, as Triton 3.6 did for every `range` in a kernel.
    """
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    if Version(triton.__version__) < Version("3.8") and Version(np.__version__) >= Version("2.4"):
        pytest.skip("Triton before 3.8 does not interpret kernels with NumPy 2.4 or newer")


def interpret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run Triton's kernels in Python, on the CPU, until `monkeypatch` is undone."""
    skip_without_interpreter()
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    compiled = [name for name in sys.modules if name.startswith("fastast.kernels._triton.")]
    assert not any(isinstance(value, JITFunction) for name in compiled for value in vars(sys.modules[name]).values()), (
        "kernels were imported for a GPU before; the interpreter cannot run them in this process"
    )
    for name, module in list(sys.modules.items()):
        if name.split(".")[:2] != ["triton", "language"]:
            continue
        for attribute, function in list(vars(module).items()):
            if isinstance(function, JITFunction):
                if id(function) not in _interpreted:
                    _interpreted[id(function)] = InterpretedFunction(function.fn)
                monkeypatch.setattr(module, attribute, _interpreted[id(function)])
