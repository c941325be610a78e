"""What all launches share: where kernels can run, what they refuse, and that Triton is not needed to import them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import fastast.kernels as kernels
from fastast.kernels.add_norm import add_norm
from fastast.kernels.launch import (
    Tiling,
    cdiv,
    check_launch,
    dot_options,
    next_power_of_two,
    padded_width,
    refuse_gradients,
)

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
sys.modules["triton"] = None  # importing it fails, as where it is not installed
import fastast.kernels
for module in pkgutil.iter_modules(fastast.kernels.__path__):
    if module.name != "_triton":
        importlib.import_module("fastast.kernels." + module.name)
import torch
from fastast.kernels.add_norm import add_norm, add_norm_reference
x, w = torch.randn(1, 2, 8), torch.ones(8)
total, normed = add_norm_reference(x, x, w, w, 1e-6)
try:
    add_norm(x, x, w, w, 1e-6)
except ValueError as error:
    print(error)
"""


def test_kernels_import_and_references_run_without_triton() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "add_norm: Triton is not installed (pip install triton); use add_norm_reference" in done.stdout


def test_importing_the_package_does_not_import_triton() -> None:
    code = "import sys, fastast, fastast.kernels; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_cpu_runs_kernels_in_the_interpreter_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not kernels.available("cpu")
    assert "no code for a cpu device (TRITON_INTERPRET=1" in kernels.why_not("cpu")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert kernels.available("cpu")
    assert kernels.why_not("cpu") == ""


def test_a_gpu_without_bfloat16_units_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert kernels.why_not("cuda") == "Tesla T4 has compute capability 7.5; the kernels need 8.0 or newer"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert kernels.available("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert kernels.why_not("cuda") == "torch finds no CUDA device"


def test_a_device_without_kernels_is_answered_with_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    x, w = torch.randn(1, 2, 8), torch.ones(8)
    with pytest.raises(ValueError, match="add_norm: .* cpu device .* use add_norm_reference on this device"):
        add_norm(x, x, w, w, 1e-6)


def test_tensors_of_two_devices_or_of_integers_are_refused(device: torch.device) -> None:
    here = torch.zeros(2, device=device)
    with pytest.raises(ValueError, match="name: y is on meta, x on"):
        check_launch("name", x=here, y=torch.zeros(2, device="meta"))
    with pytest.raises(ValueError, match="name: y is torch.int64; allowed: float16, bfloat16, float32, float64"):
        check_launch("name", x=here, y=here.long())
    check_launch("name", x=here, y=None)


def test_gradients_are_refused_only_where_they_would_be_lost() -> None:
    tensor = torch.zeros(2, requires_grad=True)
    with pytest.raises(ValueError, match="name: is for inference and has no backward pass"):
        refuse_gradients("name", None, tensor)
    with torch.no_grad():
        refuse_gradients("name", tensor)
    refuse_gradients("name", tensor.detach(), None)


@pytest.mark.parametrize(
    ("field", "value"), [("block_m", 48), ("block_n", 0), ("block_k", -16), ("num_warps", 3), ("num_stages", 0)]
)
def test_tiles_that_cannot_be_are_refused(field: str, value: int) -> None:
    good = {"block_m": 64, "block_n": 64}
    with pytest.raises(ValueError, match=f"tiling: {field} = {value}"):
        Tiling(**(good | {field: value}))


def test_powers_of_two_and_quotients_round_up() -> None:
    assert [next_power_of_two(x) for x in (1, 2, 3, 64, 65, 768)] == [1, 2, 4, 64, 128, 1024]
    assert [padded_width(x) for x in (1, 16, 17, 72)] == [16, 16, 32, 128]
    assert [cdiv(a, 8) for a in (0, 1, 8, 9)] == [0, 1, 1, 2]


def test_no_product_is_ever_made_in_tf32(device: torch.device) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert dot_options(dtype)["PRECISION"] == "ieee"
