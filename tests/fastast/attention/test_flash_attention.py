"""Flash kernels with a bias per key: exact where they run, and one clear reason where they do not."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

import fastast
from fastast.attention import ATTENTION_KERNELS, flash, proportional_attention
from fastast.attention.flash import FLASH_KERNELS, LOG_OF_NOTHING, MissingAttentionError, why_not_flash
from fastast.kernels.weighted_attention import weighted_attention_reference
from fastast.model import AudioSpectrogramTransformer

needs_compiler = pytest.mark.skipif(
    sys.platform == "win32" or not shutil.which("c++"), reason="torch.compile needs a C++ compiler on a CPU"
)
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def numpy_attention(q: Tensor, k: Tensor, v: Tensor, size: Tensor | None) -> Tensor:
    """The definition in NumPy and float64: weights size · exp(s), of which those of size 0 are none."""
    q_, k_, v_ = (x.double().cpu().numpy() for x in (q, k, v))
    scores = q_ @ k_.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    if size is not None:
        weights = weights * size.double().cpu().numpy()[:, None, None, :]
    return torch.from_numpy(weights / weights.sum(-1, keepdims=True) @ v_)


def tensors(n: int = 37, *, d: int = 16, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values, and sizes from 0 (padding, dropped tokens) to hundreds."""
    g = torch.Generator().manual_seed(n)
    q, k, v = torch.randn(3, 2, 3, n, d, generator=g).to(dtype)
    size = torch.randint(1, 400, (2, n), generator=g).float()
    size[0, 5:9] = 0  # nothing
    size[1, -7:] = 0  # the end of a clip that was padded
    return q, k, v, size


def eager(q: Tensor, k: Tensor, v: Tensor, size: Tensor | None) -> Tensor:
    """The same function that is compiled elsewhere, as PyTorch runs it without compiling."""
    return flash._flex(q, k, v, flash._log_size(size), "AUTO")


@pytest.mark.parametrize("n", [10, 37, 128, 131])
def test_log_size_added_to_the_scores_weighs_keys_by_size(n: int) -> None:
    q, k, v, size = tensors(n)
    expected = numpy_attention(q, k, v, size)
    torch.testing.assert_close(eager(q, k, v, size).double(), expected, atol=3e-6, rtol=1e-5)
    torch.testing.assert_close(
        proportional_attention(q, k, v, size, kernel="math").double(), expected, atol=3e-6, rtol=1e-5
    )
    assert not torch.allclose(eager(q, k, v, None).double(), expected, atol=1e-2)
    torch.testing.assert_close(eager(q, k, v, None).double(), numpy_attention(q, k, v, None), atol=3e-6, rtol=1e-5)


def test_keys_of_size_0_and_their_values_do_not_matter() -> None:
    q, k, v, size = tensors()
    changed = v.clone()
    changed[0, :, 5:9] = 1e4
    changed[1, :, -7:] = -1e4
    torch.testing.assert_close(eager(q, k, changed, size), eager(q, k, v, size))


def test_in_half_precision_it_is_as_good_as_its_inputs_and_outputs() -> None:
    q, k, v, size = tensors(300, d=64, dtype=torch.bfloat16)
    difference = (eager(q, k, v, size).double() - numpy_attention(q, k, v, size)).abs().max()
    assert difference < 2**-7  # two steps of bfloat16 at 1; a bias in bfloat16 is off by 2 % of a weight at size 300
    assert flash._log_size(size).dtype == torch.float32


def test_the_log_of_nothing_is_a_number_low_enough_to_weigh_nothing() -> None:
    (log,) = flash._log_size(torch.tensor([[0.0, 1.0, math.e]]))
    torch.testing.assert_close(log, torch.tensor([LOG_OF_NOTHING, 0.0, 1.0]))
    assert math.exp(LOG_OF_NOTHING) == 0


@needs_compiler
@pytest.mark.slow
def test_one_compilation_serves_every_number_of_tokens_and_layer() -> None:
    torch._dynamo.reset()
    flash._compiled.cache_clear()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with torch.no_grad():
        for n in (37, 45, 53, 61, 77, 85, 93, 101, 109, 117, 125, 133):  # twelve blocks, each with its own
            q, k, v, size = tensors(n)
            out = proportional_attention(q, k, v, size, kernel="flex")
            torch.testing.assert_close(out.double(), numpy_attention(q, k, v, size), atol=3e-6, rtol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - before <= 2


@needs_compiler
@pytest.mark.slow
def test_a_merged_model_on_flexattention_gives_the_models_logits() -> None:
    torch.manual_seed(0)
    model = fastast.create_model("ast_tiny", depth=3, num_frames=96).eval()
    fbank = torch.randn(2, 96, 128)
    logits = {}
    with torch.no_grad():
        for kernel in ("math", "flex"):
            with fastast.reduce(model, fastast.TokenReduction(schedule="constant:8"), attention=kernel):
                logits[kernel] = model(fbank)
    torch.testing.assert_close(logits["flex"], logits["math"], atol=1e-5, rtol=1e-4)


def test_what_cannot_run_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert why_not_flash("flex", cpu) == ""
    for kernel in ("fa4", "flex_flash"):
        assert "this is a cpu device; choose 'flex' or 'auto'" in why_not_flash(kernel, cpu)
        assert "does not take float32; give bfloat16 or float16" in why_not_flash(kernel, cuda, torch.float32)
        monkeypatch.setattr(flash, "fa4_version", lambda: None)
        assert why_not_flash(kernel, cuda) == "FlashAttention-4 is not installed; pip install 'fastast[fa4]'"
        monkeypatch.setattr(flash, "fa4_version", lambda: "4.0.0b27")
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA A100-SXM4-80GB")
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (8, 0))
        assert "A100-SXM4-80GB has compute capability 8.0, and FlashAttention-4 takes" in why_not_flash(kernel, cuda)
        for capability in ((9, 0), (10, 0), (12, 0)):
            monkeypatch.setattr("torch.cuda.get_device_capability", lambda device, found=capability: found)
            assert why_not_flash(kernel, cuda, torch.bfloat16) == ""
    monkeypatch.setattr("torch.__version__", "2.9.1+cu130")
    assert "came with PyTorch 2.10, and this is 2.9.1" in why_not_flash("flex_flash", cuda)
    assert why_not_flash("fa4", cuda) == ""


@pytest.mark.parametrize("kernel", ["fa4", "flex_flash"])
def test_nothing_else_runs_in_its_place(kernel: str, small_model: AudioSpectrogramTransformer) -> None:
    q, k, v, size = tensors()
    with pytest.raises(MissingAttentionError, match=f"attention '{kernel}': FlashAttention-4 runs on"):
        proportional_attention(q, k, v, size, kernel=kernel)
    geometry = small_model.geometry
    fbank = torch.randn(1, geometry.num_frames, geometry.num_mel_bins)
    with (
        fastast.reduce(small_model, fastast.TokenReduction(schedule="constant:1"), attention=kernel),
        pytest.raises(MissingAttentionError),
    ):
        small_model(fbank)


def test_the_engine_takes_it_where_it_can_run_or_refuses(small_model: AudioSpectrogramTransformer) -> None:
    with pytest.raises(MissingAttentionError, match="attention 'fa4': FlashAttention-4 runs on"):
        fastast.compile(small_model.eval(), device="cpu", attention="fa4")
    with pytest.raises(ValueError, match="compile: attention is 'flash'; allowed: auto, fa4"):
        fastast.compile(small_model, device="cpu", attention="flash")


def test_what_it_has_not_is_refused() -> None:
    q, k, v, size = tensors()
    with pytest.raises(ValueError, match="'flex' has no dropout, but dropout is 0.1"):
        proportional_attention(q, k, v, size, kernel="flex", dropout=0.1)
    with pytest.raises(MissingAttentionError, match="FlexAttention does not take float64"):
        proportional_attention(q.double(), k.double(), v.double(), size, kernel="flex")
    with pytest.raises(MissingAttentionError, match="no backward pass on a CPU; choose 'mask'"):
        proportional_attention(q.requires_grad_(), k, v, size, kernel="flex")
    assert set(FLASH_KERNELS) < set(ATTENTION_KERNELS)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """FlashAttention-4's interface on any device: by its documents, (b, n, h, d), with what is added to each score.

    Notes its options. It shows what is handed over and in which layout, not what the kernel does.
    """
    calls: list[dict] = []

    def flash_attn_func(q: Tensor, k: Tensor, v: Tensor, **options: object) -> tuple[Tensor, None]:
        calls.append(options)
        scores = torch.einsum("bihd,bjhd->bhij", q, k) * options["softmax_scale"]
        if "aux_tensors" in options:
            scores = scores + options["aux_tensors"][0][:, None, None, :]
        return torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v), None

    cute, scores = ModuleType("flash_attn.cute"), ModuleType("fastast.attention._fa4_scores")
    cute.flash_attn_func = flash_attn_func
    scores.add_log_size, scores.pass_gradient = "add", "pass"
    for module in (ModuleType("flash_attn"), cute, scores):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(flash, "why_not_flash", lambda *_: "")
    return calls


def test_flash_attention_4_is_handed_the_layout_that_it_documents(stand_in: list[dict]) -> None:
    q, k, v, size = tensors()
    out = proportional_attention(q, k, v, size, kernel="fa4")
    torch.testing.assert_close(out.double(), numpy_attention(q, k, v, size), atol=3e-6, rtol=1e-5)
    (options,) = stand_in
    assert (options["score_mod"], options["score_mod_bwd"]) == ("add", "pass")
    assert options["aux_tensors"][0].dtype == torch.float32
    assert options["aux_tensors"][0].is_contiguous()
    out = proportional_attention(q, k, v, None, kernel="fa4")
    torch.testing.assert_close(out.double(), numpy_attention(q, k, v, None), atol=3e-6, rtol=1e-5)
    assert set(stand_in[1]) == {"softmax_scale"}
    with pytest.raises(MissingAttentionError, match="heads are 20 wide, and FlashAttention-4 takes multiples of 8"):
        proportional_attention(*(x.repeat(1, 1, 1, 2)[..., :20] for x in (q, k, v)), size, kernel="fa4")


def test_in_the_engine_it_reads_what_the_linear_layer_wrote(stand_in: list[dict]) -> None:
    from fastast.engine.kernel_table import triton_kernels

    g = torch.Generator().manual_seed(0)
    qkv, size = torch.randn(2, 21, 3 * 4 * 16, generator=g), torch.randint(1, 9, (2, 21), generator=g).float()
    kernels = triton_kernels(torch.bfloat16, "fa4")
    for sizes in (size, None):
        torch.testing.assert_close(
            kernels.weighted_attention(qkv, sizes, 4), weighted_attention_reference(qkv, sizes, 4), atol=1e-5, rtol=1e-5
        )
    assert kernels.names["weighted_attention"] == "fa4"
    assert kernels.names["add_norm"] == "triton"
    assert triton_kernels(torch.bfloat16).names["weighted_attention"] == "triton"


COMPILES = """
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from flash_attn.cute import interface
from fastast.attention.flash import fa4_weighted_attention

compiled = []
compile_ = interface.cute.compile
interface.cute.compile = lambda *args, **options: compiled.append(compile_(*args, **options)) or compiled[-1]
with FakeTensorMode():
    qkv = torch.empty(2, 1214, 3 * 12 * 64, dtype=torch.bfloat16, device="cuda")
    for size in (torch.empty(2, 1214, device="cuda"), None):
        assert fa4_weighted_attention(qkv, size, 12).shape == (2, 1214, 768)
assert len(compiled) == 2, compiled
"""


@pytest.mark.slow
@pytest.mark.skipif(flash.fa4_version() is None, reason="flash-attn-4 is not installed")
def test_flash_attention_4_compiles_our_function_for_an_h100_that_is_not_here() -> None:
    target = {"FLASH_ATTENTION_ARCH": "sm_90", "CUTE_DSL_ARCH": "sm_90a", "FLASH_ATTENTION_NUM_SMS": "132"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILES], env=os.environ | target, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.gpu
@pytest.mark.parametrize("sized", [True, False], ids=["sizes", "no sizes"])
@pytest.mark.parametrize("kernel", FLASH_KERNELS)
def test_on_a_gpu_it_is_exact_to_half_precision(kernel: str, sized: bool) -> None:
    if reason := why_not_flash(kernel, "cuda", torch.bfloat16):
        pytest.skip(reason)
    for n in (1214, 1174, 131, 64):
        q, k, v, size = (x.cuda() for x in tensors(n, d=64, dtype=torch.bfloat16))
        weights = size if sized else None
        with torch.no_grad():
            out = proportional_attention(q, k, v, weights, kernel=kernel)
        assert (out.double().cpu() - numpy_attention(q, k, v, weights)).abs().max() < 2**-7, n


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", FLASH_KERNELS)
def test_on_a_gpu_gradients_equal_the_definitions(kernel: str) -> None:
    if reason := why_not_flash(kernel, "cuda", torch.bfloat16):
        pytest.skip(reason)
    grads = {}
    for name in ("math", kernel):
        *qkv, size = (x.cuda() for x in tensors(131, d=64, dtype=torch.bfloat16))
        inputs = [(x.float() if name == "math" else x).requires_grad_() for x in qkv]
        proportional_attention(*inputs, size, kernel=name).float().pow(2).sum().backward()
        grads[name] = [x.grad.float() for x in inputs]
    for got, want in zip(grads[kernel], grads["math"], strict=True):
        assert (got - want).norm() < 0.02 * want.norm()


@pytest.mark.gpu
def test_on_a_gpu_the_engine_runs_on_it_as_on_its_own_kernel() -> None:
    if reason := why_not_flash("fa4", "cuda", torch.bfloat16):
        pytest.skip(reason)
    torch.manual_seed(0)
    model = fastast.create_model("ast_base", depth=3).eval()
    reduction = fastast.TokenReduction(schedule="constant:40", proportional=True)
    fbank = torch.randn(2, 1024, 128, device="cuda", dtype=torch.bfloat16)
    engines = {
        name: fastast.compile(model, reduction, batch_size=2, dtype=torch.bfloat16, device="cuda", attention=name)
        for name in ("auto", "fa4")
    }
    assert engines["fa4"].kernels["weighted_attention"] == "fa4"
    logits = {name: engine(fbank).float() for name, engine in engines.items()}
    assert torch.nn.functional.cosine_similarity(logits["fa4"], logits["auto"]).min() > 0.999
