"""What is marked for the compiler is what PyTorch itself would mark, and costs no import of it."""

from __future__ import annotations

import subprocess
import sys

import torch

from fastast.system.compiling import constant_result


def test_a_mark_is_pytorchs_own() -> None:
    def ours() -> int:
        return 1

    def theirs() -> int:
        return 1

    assert vars(constant_result(ours)) == vars(torch.compiler.assume_constant_result(theirs))  # type: ignore[no-untyped-call]


def test_the_compiler_is_not_imported_before_it_is_needed() -> None:
    modules = "sys, bench.run.driver, fastast.reduction, fastast.frontend.filterbank"
    code = f"import {modules}; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
