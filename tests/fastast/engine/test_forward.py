"""The engine's forward over plain-torch stages equals the model, to the last digits of float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastast.engine.forward import PackedForward
from fastast.engine.kernel_table import KernelTable, reference_kernels
from fastast.engine.weights import pack
from fastast.geometry import Geometry
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import AttachedReduction, MergePlan, TokenReduction, reduction_method
from fastast.reduction.registry import METHODS, all_free
from fastast.schedule import Constant, Linear, PerBlock, Schedule

CPU = torch.device("cpu")
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def engine_logits(
    model: AudioSpectrogramTransformer,
    fbank: Tensor,
    reduction: TokenReduction | None,
    kernels: KernelTable | None = None,
) -> Tensor:
    weights = pack(model, dtype=fbank.dtype, device=CPU)
    attached = None if reduction is None else AttachedReduction.of(reduction, model.encoder)
    return PackedForward(weights, attached, kernels or reference_kernels())(fbank)


def model_logits(model: AudioSpectrogramTransformer, fbank: Tensor, reduction: TokenReduction | None) -> Tensor:
    if reduction is None:
        return model(fbank)
    with reduce(model, reduction, attention="math"):
        return model(fbank)


def check(
    model: AudioSpectrogramTransformer,
    fbank: Tensor,
    reduction: TokenReduction | None,
    kernels: KernelTable | None = None,
) -> None:
    model, fbank = model.double(), fbank.double()
    expected = model_logits(model, fbank, reduction)
    torch.testing.assert_close(engine_logits(model, fbank, reduction, kernels), expected, **EXACT)


def test_unmerged(small_model, small_fbank) -> None:
    check(small_model, small_fbank, None)


@pytest.mark.parametrize("proportional", [True, False])
@pytest.mark.parametrize("method", ["tome", "slice"])
@pytest.mark.parametrize(
    "schedule",
    [Constant(0), Constant(9), Linear(12, -1), Linear(12, 1), PerBlock((5, 0, 20)), PerBlock((5, 20, 0))],
    ids=str,
)
def test_reduced(small_model, small_fbank, schedule: Schedule, method: str, proportional: bool) -> None:
    check(
        small_model, small_fbank, TokenReduction(schedule=schedule, method=method, proportional=proportional)
    )  # fmt: skip


@pytest.mark.parametrize("method", ["tome", "slice"])
@pytest.mark.parametrize("num_protected", [0, 1, 2, 3, 5])
def test_any_number_of_protected_tokens(small_model, small_fbank, num_protected: int, method: str) -> None:
    reduction = TokenReduction(schedule=Constant(15), method=method, num_protected=num_protected)
    check(small_model, small_fbank, reduction)


@reduction_method("all_kinds", label="all kinds", limit=all_free, random=True)
def of_all_kinds(tokens, r, options) -> MergePlan:
    """Drop a token, pool the others that leave into one slot by weight, and ask for places while at it."""
    n = tokens.num_tokens
    slot = torch.arange(n).clamp_max(n - r - 1).expand(tokens.batch, -1).clone()
    slot[:, -1] = -1
    weight = 1 + tokens.places.abs().sum(-1) + tokens.draw()
    return MergePlan.from_slots(slot, n - r, weight=weight)


@pytest.mark.parametrize("combine", ["size", "mean", "norm", "keep"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("tome", {"metric": "queries"}),
        ("tome", {"order": "position"}),
        ("tome", {"metric": "before", "distance": "euclidean"}),
        ("all_kinds", {}),
    ],
    ids=str,
)
def test_any_method_any_option_and_any_rule(
    small_model, small_fbank, monkeypatch, method: str, options: dict[str, str], combine: str
) -> None:
    monkeypatch.setitem(METHODS._entries, "all_kinds", of_all_kinds)
    reduction = TokenReduction(schedule=Constant(12), method=method, options=options, combine=combine)
    check(small_model, small_fbank, reduction)


def test_merging_changes_the_logits_at_all(small_model, small_fbank) -> None:
    """Or the comparisons above would compare nothing."""
    logits = [
        engine_logits(small_model, small_fbank, reduction)
        for reduction in (
            None,
            TokenReduction(schedule=Constant(15)),
            TokenReduction(schedule=Constant(15), proportional=False),
            TokenReduction(schedule=Constant(15), method="slice"),
        )
    ]
    for i, one in enumerate(logits):
        assert all((one - other).abs().max() > 1e-4 for other in logits[:i])


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("r", [0, 4])
def test_shallow_models(depth: int, r: int) -> None:
    """The first block is the last one, too: no sizes there yet."""
    geometry = Geometry(embed_dim=24, depth=depth, num_heads=3, num_classes=4, num_mel_bins=26, num_frames=96)
    model = with_random_weights(geometry)
    check(model, torch.randn(2, 96, 26), TokenReduction(schedule=Constant(r)))


def test_unequal_strides_no_bias_and_other_epsilons() -> None:
    geometry = Geometry(
        embed_dim=48, depth=3, num_heads=2, num_classes=4, num_mel_bins=40, num_frames=70, patch_size=8, fstride=7,
        tstride=5, mlp_ratio=2.0, qkv_bias=False, norm_eps=1e-3, head_norm_eps=1e-2,
    )  # fmt: skip
    check(with_random_weights(geometry), torch.randn(2, 70, 40), TokenReduction(schedule=Constant(10)))


def test_the_last_block_is_short_unless_it_could_merge_what_the_head_reads(small_model, small_fbank) -> None:
    def seen(reduction: TokenReduction | None) -> list[int]:
        tokens = []

        def counted(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            tokens.append(x.shape[1])
            return torch.nn.functional.gelu(torch.nn.functional.linear(x, weight, bias))

        kernels = reference_kernels()
        check(small_model, small_fbank, reduction, KernelTable(**{**vars(kernels), "linear_gelu": counted}))
        return tokens

    assert seen(None) == [70, 70, 2]
    assert seen(TokenReduction(schedule=Constant(10))) == [60, 50, 2]
    assert seen(TokenReduction(schedule=Constant(10), num_protected=1)) == [60, 50, 40]
    assert seen(TokenReduction(schedule=PerBlock((10, 10, 0)), num_protected=0)) == [60, 50, 2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(small_model, small_fbank, dtype: torch.dtype) -> None:
    expected = model_logits(small_model, small_fbank, None)
    logits = engine_logits(small_model, small_fbank.to(dtype), None)
    assert logits.dtype == dtype
    similar = torch.nn.functional.cosine_similarity(logits.float(), expected, dim=-1)
    assert similar.min() > 0.999


def test_weights_are_copies(small_model, small_fbank) -> None:
    weights = pack(small_model, dtype=torch.float32, device=CPU)
    forward = PackedForward(weights, None, reference_kernels())
    before = forward(small_fbank)
    with torch.no_grad():
        for parameter in small_model.parameters():
            parameter.zero_()
    after = forward(small_fbank)
    assert torch.equal(before, after)


def with_random_weights(geometry: Geometry) -> AudioSpectrogramTransformer:
    torch.manual_seed(5)
    model = AudioSpectrogramTransformer(geometry).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield
