"""Training on the kernels: logits and every parameter's gradient are those of autograd through the model itself."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from fastast.engine import differentiable_forward, why_not_differentiable
from fastast.engine.differentiable import DifferentiableForward
from fastast.engine.kernel_table import reference_kernels
from fastast.geometry import Geometry
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import ReductionError, TokenReduction
from fastast.schedule import Constant, Linear, PerBlock
from fastast.teachers.transformer import PatchoutTransformer
from tests.fastast.engine.conftest import TINY

SCHEDULES = (Constant(0), Constant(4), Linear(4, -1), PerBlock((5, 0, 3)), PerBlock((0, 5, 0)))
EXACT = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Relative to the largest number of a tensor: sums in another order."""


@pytest.fixture(autouse=True)
def _float32_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the convolution of the patches would be in tf32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def gradients(forward, model: nn.Module, fbank: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the gradient of every parameter by a loss that weighs all of them differently."""
    model.zero_grad(set_to_none=True)
    logits = forward(fbank)
    weights = torch.linspace(-1, 2, logits.numel(), device=fbank.device, dtype=torch.float64).view_as(logits)
    (logits.double().sigmoid() * weights).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"no gradient reaches {name}"
    return logits.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def plain(model: AudioSpectrogramTransformer, reduction: TokenReduction | None):
    """The model itself, on the definition of attention."""

    def forward(fbank: Tensor) -> Tensor:
        if reduction is None:
            return model(fbank)
        with reduce(model, reduction, attention="math"):
            return model(fbank)

    return forward


def assert_same(got: tuple[Tensor, dict[str, Tensor]], want: tuple[Tensor, dict[str, Tensor]], share: float) -> None:
    """Every tensor within a share of its largest number."""
    for name, a, b in [("logits", got[0], want[0]), *((name, got[1][name], want[1][name]) for name in want[1])]:
        assert a.shape == b.shape
        error, largest = (a.double() - b.double()).abs().max().item(), b.abs().max().item()
        assert error <= share * max(largest, 1e-3), f"{name}: off by {error:.2e}, the largest is {largest:.2e}"


@pytest.mark.parametrize("proportional", [True, False])
@pytest.mark.parametrize("method", ["tome", "slice"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_over_plain_stages_gradients_are_exact(
    tiny_model, tiny_fbank, schedule, method: str, proportional: bool
) -> None:
    model, fbank = tiny_model.double().train(), tiny_fbank.double()
    reduction = TokenReduction(schedule=schedule, method=method, proportional=proportional)
    engine = DifferentiableForward(model, reduction, reference_kernels())
    assert_same(gradients(engine, model, fbank), gradients(plain(model, reduction), model, fbank), EXACT[torch.float64])


@pytest.mark.parametrize("combine", ["mean", "keep"])
@pytest.mark.parametrize("options", [{"metric": "tokens"}, {"order": "position"}], ids=str)
def test_any_option_and_rule_with_a_gradient(tiny_model, tiny_fbank, options: dict[str, str], combine: str) -> None:
    model, fbank = tiny_model.double().train(), tiny_fbank.double()
    reduction = TokenReduction(schedule=Constant(4), options=options, combine=combine)
    engine = DifferentiableForward(model, reduction, reference_kernels())
    assert_same(gradients(engine, model, fbank), gradients(plain(model, reduction), model, fbank), EXACT[torch.float64])


@pytest.mark.parametrize("num_protected", [0, 1, 3])
def test_where_the_last_block_may_merge_what_the_head_reads(tiny_model, tiny_fbank, num_protected: int) -> None:
    model, fbank = tiny_model.double(), tiny_fbank.double()
    reduction = TokenReduction(schedule=Constant(4), num_protected=num_protected)
    engine = DifferentiableForward(model, reduction, reference_kernels())
    assert_same(gradients(engine, model, fbank), gradients(plain(model, reduction), model, fbank), EXACT[torch.float64])


ON_KERNELS = [
    (None, True, torch.float32),
    (Constant(4), True, torch.float64),
    (Constant(4), False, torch.float32),
]
IN_LONG = [
    (None, True, torch.float64),
    (Constant(4), True, torch.float32),
    (Constant(4), False, torch.float64),
    (Constant(0), True, torch.float32),
    (Linear(4, -1), True, torch.float32),
    (Linear(4, -1), False, torch.float64),
]


@pytest.mark.parametrize(
    ("schedule", "proportional", "dtype"),
    [*ON_KERNELS, *(pytest.param(*case, marks=pytest.mark.slow) for case in IN_LONG)],
    ids=str,
)
def test_on_the_kernels_they_are_too(tiny_model, tiny_fbank, schedule, proportional, dtype, device) -> None:
    if dtype == torch.float64 and device.type == "cuda":
        pytest.skip("on a GPU the kernels do not support float64")
    model, fbank = tiny_model.to(device, dtype).train(), tiny_fbank[:2].to(device, dtype)
    reduction = None if schedule is None else TokenReduction(schedule=schedule, proportional=proportional)
    engine = differentiable_forward(model, reduction)
    assert_same(gradients(engine, model, fbank), gradients(plain(model, reduction), model, fbank), EXACT[dtype])


@pytest.mark.slow
def test_the_oracle_drops_gradients_of_what_it_drops(tiny_model, tiny_fbank, device) -> None:
    """Memory that was written before must not show where the kernel writes nothing."""
    model, fbank = tiny_model.to(device), tiny_fbank.to(device)
    reduction = TokenReduction(schedule=Constant(4), method="slice")
    engine = differentiable_forward(model, reduction)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", lambda *shape, **options: torch.full(shape, torch.nan, **options))
        got = gradients(engine, model, fbank)
    assert_same(got, gradients(plain(model, reduction), model, fbank), EXACT[torch.float32])


@pytest.mark.slow
def test_no_bias_and_unequal_strides(device) -> None:
    geometry = Geometry(
        embed_dim=48, depth=2, num_heads=2, num_classes=4, num_mel_bins=24, num_frames=40, patch_size=8, fstride=7,
        tstride=5, mlp_ratio=2.0, qkv_bias=False, norm_eps=1e-3, head_norm_eps=1e-2,
    )  # fmt: skip
    torch.manual_seed(5)
    model = AudioSpectrogramTransformer(geometry)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model, fbank = model.to(device), torch.randn(2, 40, 24).to(device)
    reduction = TokenReduction(schedule=Constant(3))
    got = gradients(differentiable_forward(model, reduction), model, fbank)
    assert_same(got, gradients(plain(model, reduction), model, fbank), EXACT[torch.float32])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("r", [0, 4])
def test_autocast_costs_no_more_than_the_models_own(tiny_model, tiny_fbank, r: int, dtype, device) -> None:
    """Against float64: the kernels lose about what plain torch loses in the same precision."""
    model, fbank = tiny_model.to(device), tiny_fbank.to(device)
    reduction = TokenReduction(schedule=PerBlock((r, 0, 0)))
    twin = copy.deepcopy(model).double()
    want = gradients(plain(twin, reduction), twin, fbank.double())
    with torch.autocast(device.type, dtype):
        got = gradients(differentiable_forward(model, reduction), model, fbank)
        own = gradients(plain(model, reduction), model, fbank)
    assert got[0].dtype == own[0].dtype == dtype
    assert {name: grad.dtype for name, grad in got[1].items()} == dict.fromkeys(want[1], torch.float32)
    assert distance(own, want) < 0.02  # rounding, and not other tokens that merged
    assert distance(got, want) < 2 * distance(own, want)


def test_under_autocast_a_norm_is_written_as_the_next_product_reads_it(tiny_model, tiny_fbank) -> None:
    stages = reference_kernels()
    seen = []

    def noted(*arguments):
        total, normed = stages.add_norm(*arguments)
        seen.append((total.dtype, normed.dtype))
        return total, normed

    with torch.autocast("cpu", torch.bfloat16):
        DifferentiableForward(tiny_model, None, dataclasses.replace(stages, add_norm=noted))(tiny_fbank)
    wide, half = torch.float32, torch.bfloat16
    # Behind attention, behind the MLP, of three blocks: the last block's attention and the head read all digits.
    assert seen == [(wide, half), (wide, half), (wide, half), (wide, wide), (wide, half), (wide, wide)]


def distance(got: tuple[Tensor, dict[str, Tensor]], want: tuple[Tensor, dict[str, Tensor]]) -> float:
    """Root of the squared errors of all gradients, relative to their norm."""
    a = torch.cat([got[1][name].double().flatten() for name in want[1]])
    b = torch.cat([grad.double().flatten() for grad in want[1].values()])
    return float((a - b).norm() / b.norm())


@pytest.mark.slow
def test_stochastic_depth_draws_what_the_model_draws(tiny_fbank, device) -> None:
    torch.manual_seed(6)
    model = AudioSpectrogramTransformer(TINY, drop_path_rate=0.7).to(device).train()
    fbank = tiny_fbank.to(device)
    reduction = TokenReduction(schedule=Constant(3))
    found = []
    for forward in (differentiable_forward(model, reduction), plain(model, reduction)):
        torch.manual_seed(7)
        found.append(gradients(forward, model, fbank))
    assert_same(*found, EXACT[torch.float32])
    assert (found[0][0] - plain(model.eval(), reduction)(fbank)).abs().max() > 1e-4  # or nothing was dropped above


@pytest.mark.slow
def test_patchout(tiny_fbank, device) -> None:
    model = PatchoutTransformer(TINY, patchout_time=3).to(device).train()
    found = []
    for forward in (differentiable_forward(model), model):
        torch.manual_seed(7)
        found.append(gradients(forward, model, tiny_fbank.to(device)))
    assert_same(*found, EXACT[torch.float32])


def test_it_follows_the_models_weights_and_what_is_attached(tiny_model, tiny_fbank, device) -> None:
    model, fbank = tiny_model.to(device), tiny_fbank[:1].to(device)
    engine = differentiable_forward(model)
    assert {id(p) for p in engine.parameters()} == {id(p) for p in model.parameters()}
    with torch.no_grad():
        unmerged = engine(fbank)
        with reduce(model, TokenReduction(schedule=Constant(4))):
            merged = engine(fbank)
            torch.testing.assert_close(merged, model(fbank), rtol=1e-4, atol=1e-4)
        assert (unmerged - merged).abs().max() > 1e-3
        for parameter in model.parameters():
            parameter.mul_(1.1)
        torch.testing.assert_close(engine(fbank), model(fbank), rtol=1e-4, atol=1e-4)
        assert (unmerged - engine(fbank)).abs().max() > 1e-3


def test_what_the_kernels_cannot_train_is_refused_with_the_reason(tiny_model, device) -> None:
    tiny_model.to(device)
    with pytest.raises(ValueError, match=r"not for Linear; call the model itself"):
        differentiable_forward(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"combine='norm' has no backward pass"):
        differentiable_forward(tiny_model, TokenReduction(schedule=Constant(2), combine="norm"))
    with pytest.raises(ReductionError):
        differentiable_forward(tiny_model, TokenReduction(schedule=Constant(15)))
    engine = differentiable_forward(tiny_model, TokenReduction(schedule=Constant(2)))
    following = differentiable_forward(tiny_model)
    fbank = torch.zeros(1, 96, 32, device=device)
    with reduce(tiny_model, TokenReduction(schedule=Constant(2), combine="norm")):
        with pytest.raises(ValueError, match=r"combine='norm' has no backward pass"):
            following(fbank)
        with pytest.raises(ReductionError, match=r"reduced already"):
            engine(fbank)
        with pytest.raises(ValueError, match=r"combine='norm' has no backward pass"):
            differentiable_forward(tiny_model)
        with pytest.raises(ReductionError, match=r"reduced already"):
            differentiable_forward(tiny_model, TokenReduction(schedule=Constant(2)))


def test_without_triton_it_is_refused(tiny_model, monkeypatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "no code for a cpu device" in why_not_differentiable(tiny_model)
    assert why_not_differentiable(tiny_model.double()) == "the kernels do not support float64"
    with pytest.raises(ValueError, match=r"differentiable_forward: Triton has no code for a cpu device.*plain torch"):
        differentiable_forward(tiny_model.float())
    monkeypatch.setattr("fastast.kernels.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"Triton is not installed"):
        differentiable_forward(tiny_model)
