"""What is marked for the compiler is what PyTorch itself would mark, and costs no import of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from fastast.compiling import constant_result


def test_a_mark_is_pytorchs_own() -> None:
    def ours() -> int:
        return 1

    def theirs() -> int:
        return 1

    assert vars(constant_result(ours)) == vars(torch.compiler.assume_constant_result(theirs))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("module", ["bench.run.driver", "fastast.reduction", "fastast.filterbank"])
def test_the_compiler_is_not_imported_before_it_is_needed(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
