"""The warning about a precision for which the processor has no instructions."""

from __future__ import annotations

import pytest
import torch

from fastast.training.precision import slow_precision


@pytest.mark.parametrize(
    ("capability", "device", "precision", "warned"),
    [
        ("AVX2", "cpu", "bfloat16", True),
        ("AVX2", "cpu", "float16", True),
        ("AVX2", "cpu", "float32", False),
        ("AVX2", "cuda", "bfloat16", False),
        ("AVX512", "cpu", "bfloat16", False),
    ],
)
def test_half_precision_without_instructions_for_it_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capability: str, device: str, precision: str, warned: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    said = slow_precision(torch.device(device), precision)
    assert ("-s precision=float32" in said) == warned
